#include "model/rope.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "model/fused_rows.hpp"

namespace osler::model {
namespace {

using parallel::rows_of;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

void rotate_(const at::Tensor& qkv, std::int64_t num_heads, const at::Tensor& cos, const at::Tensor& sin, double sign) {
  const std::int64_t half = qkv.size(2) / 2;
  if (parallel::has_host_rows(qkv)) {
    parallel::with_row_type(qkv, [&]<class T>(T*) {
      const RopeRows rows{qkv.data_ptr(), rows_of<float>(cos),     rows_of<float>(sin), qkv.stride(0), num_heads,
                          half,           static_cast<float>(sign)};
      at::parallel_for(0, qkv.size(0), 16, [&](std::int64_t begin, std::int64_t end) {
        rope_rows(rows, static_cast<const T*>(nullptr), begin, end);
      });
    });
    return;
  }
  at::Tensor first = qkv.narrow(1, 0, num_heads).narrow(2, 0, half);
  at::Tensor second = qkv.narrow(1, 0, num_heads).narrow(2, half, half);
  const at::Tensor c = cos.unsqueeze(1), s = (sin * sign).unsqueeze(1);
  const at::Tensor rotated = (first * c - second * s).to(qkv.scalar_type());
  second.copy_((second * c + first * s).to(qkv.scalar_type()));
  first.copy_(rotated);
}

struct RopeFunction : torch::autograd::Function<RopeFunction> {
  static at::Tensor forward(AutogradContext* ctx, at::Tensor qkv, std::int64_t num_heads, at::Tensor cos,
                            at::Tensor sin) {
    rotate_(qkv, num_heads, cos, sin, 1);
    ctx->mark_dirty({qkv});
    ctx->saved_data["num_heads"] = num_heads;
    ctx->saved_data["cos"] = cos;
    ctx->saved_data["sin"] = sin;
    return qkv;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    // The gradient is the sum of its parts, made for this node alone (attention.cpp): rotating it in place is safe.
    const at::Tensor grad = gradients[0].contiguous();
    rotate_(grad, ctx->saved_data["num_heads"].toInt(), ctx->saved_data["cos"].toTensor(),
            ctx->saved_data["sin"].toTensor(), -1);
    return {grad, {}, {}, {}};
  }
};

}  // namespace

RopeTables rope_tables(const at::Tensor& positions_R, std::int64_t head_dim, double theta, c10::ScalarType model_type) {
  const at::NoGradGuard no_grad;
  const auto fp32 = positions_R.options().dtype(at::kFloat);
  const at::Tensor exponents = at::arange(0, head_dim, 2, fp32) / static_cast<double>(head_dim);
  const at::Tensor inverse = 1.0 / at::pow(theta, exponents);
  const at::Tensor angles = positions_R.to(at::kFloat).unsqueeze(1) * inverse;
  const auto kept_as = model_type == at::kDouble ? at::kDouble : at::kFloat;
  return {at::cos(angles).to(model_type).to(kept_as), at::sin(angles).to(model_type).to(kept_as)};
}

at::Tensor apply_rope(const at::Tensor& qkv, std::int64_t num_heads, const RopeTables& tables) {
  return RopeFunction::apply(qkv, num_heads, tables.cos_RH, tables.sin_RH);
}

}  // namespace osler::model
