#include "model/gated_product.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "model/fused_rows.hpp"
#include "parallel/rebuild.hpp"

namespace osler::model {
namespace {

using parallel::has_host_rows;
using parallel::rows_of;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

GatedRows rows_to(const at::Tensor& gate_up, const at::Tensor& scale) {
  GatedRows rows{};
  rows.gate_up = gate_up.data_ptr();
  rows.scale = rows_of<float>(scale);
  rows.width = gate_up.size(1) / 2;
  return rows;
}

at::Tensor compute_product(const at::Tensor& gate_up, const at::Tensor& scale) {
  const std::int64_t width = gate_up.size(1) / 2;
  if (!has_host_rows(gate_up)) {
    const at::Tensor product = at::silu(gate_up.narrow(1, 0, width)).mul_(gate_up.narrow(1, width, width));
    return scale.defined() ? (product * scale.unsqueeze(1)).to(gate_up.scalar_type()) : product;
  }
  const at::Tensor product = at::empty({gate_up.size(0), width}, gate_up.options());
  GatedRows rows = rows_to(gate_up, scale);
  rows.product = product.data_ptr();
  parallel::with_row_type(gate_up, [&]<class T>(T*) {
    at::parallel_for(0, gate_up.size(0), 8, [&](std::int64_t begin, std::int64_t end) {
      gated_rows(rows, static_cast<const T*>(nullptr), begin, end);
    });
  });
  return product;
}

struct ProductGrad {
  at::Tensor gate_up, scale;
};

ProductGrad product_grad_on_host(const at::Tensor& gate_up, const at::Tensor& scale, const at::Tensor& dproduct) {
  ProductGrad grad{at::empty_like(gate_up), scale.defined() ? at::empty_like(scale) : at::Tensor()};
  GatedRows rows = rows_to(gate_up, scale);
  rows.dproduct = dproduct.data_ptr();
  rows.dgate_up = grad.gate_up.data_ptr();
  rows.dscale = rows_of<float>(grad.scale);
  parallel::with_row_type(gate_up, [&]<class T>(T*) {
    at::parallel_for(0, gate_up.size(0), 8, [&](std::int64_t begin, std::int64_t end) {
      gated_grad_rows(rows, static_cast<const T*>(nullptr), begin, end);
    });
  });
  return grad;
}

ProductGrad product_grad_anywhere(const at::Tensor& gate_up, const at::Tensor& scale, const at::Tensor& dproduct) {
  const std::int64_t width = gate_up.size(1) / 2;
  const at::Tensor gate = gate_up.narrow(1, 0, width), up = gate_up.narrow(1, width, width);
  const at::Tensor active = at::silu(gate);
  ProductGrad grad{at::empty_like(gate_up), {}};
  at::Tensor scaled = dproduct;
  if (scale.defined()) {
    grad.scale = (dproduct * active * up).sum(1).to(scale.scalar_type());
    scaled = (dproduct * scale.unsqueeze(1)).to(gate_up.scalar_type());
  }
  grad.gate_up.narrow(1, 0, width).copy_(at::silu_backward(scaled * up, gate));
  at::Tensor dup = grad.gate_up.narrow(1, width, width);
  at::mul_out(dup, scaled, active);
  return grad;
}

struct GatedProductFunction : torch::autograd::Function<GatedProductFunction> {
  static at::Tensor forward(AutogradContext* ctx, at::Tensor gate_up, std::optional<at::Tensor> maybe_scale) {
    const at::Tensor scale = maybe_scale.value_or(at::Tensor());
    ctx->save_for_backward({gate_up, scale});
    return compute_product(gate_up, scale);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    if (!gradients[0].defined()) return {{}, {}};
    const auto saved = ctx->get_saved_variables();
    const at::Tensor dproduct = gradients[0].contiguous();
    const auto grad = has_host_rows(saved[0]) ? product_grad_on_host(saved[0], saved[1], dproduct)
                                              : product_grad_anywhere(saved[0], saved[1], dproduct);
    return {grad.gate_up, grad.scale};
  }
};

}  // namespace

GatedProduct gated_product(const at::Tensor& gate_up, const at::Tensor& scale_R) {
  const at::Tensor scale = scale_R.defined() ? scale_R.contiguous() : scale_R;
  at::Tensor product = GatedProductFunction::apply(gate_up, parallel::if_defined(scale));
  const at::Tensor kept = gate_up.detach(), kept_scale = scale.defined() ? scale.detach() : scale;
  return {product, [kept, kept_scale] { return compute_product(kept, kept_scale); }};
}

}  // namespace osler::model
