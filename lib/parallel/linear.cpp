#include "parallel/linear.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "parallel/row_product.hpp"
#include "parallel/rebuild.hpp"
#include "parallel/regions.hpp"
#include "parallel/weight_grad.hpp"

namespace osler::parallel {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// What crosses tp around the product: nothing, the input's rows before it, or the output's rows after it.
enum class Crossing { none, gather_input, scatter_output };

/// A store without gradients is there for inference alone: what trains keeps one kernel for every pass, so that passes
/// that are run again equal the first.
at::Tensor forward_product(const at::Tensor& x, const Parameter& weight) {
  return weight.grad.defined() ? at::mm(x, weight.data.t()) : inference_product(x, weight.data);
}

struct LinearFunction : torch::autograd::Function<LinearFunction> {
  static at::Tensor forward(AutogradContext* ctx, at::Tensor x, const Parameter& weight, const Rebuild& rebuild,
                            comm::Group* tp, Crossing crossing) {
    save_input(ctx, x, rebuild);
    save_group(ctx, *tp);
    ctx->saved_data["weight"] = weight.data;
    ctx->saved_data["grad"] = weight.grad;
    ctx->saved_data["crossing"] = static_cast<std::int64_t>(crossing);
    return product(x, weight, *tp, crossing);
  }

  static at::Tensor product(const at::Tensor& x, const Parameter& weight, comm::Group& tp, Crossing crossing) {
    if (crossing == Crossing::gather_input) return forward_product(gather_rows(x, tp), weight);
    const at::Tensor y = forward_product(x, weight);
    return crossing == Crossing::scatter_output ? reduce_scatter_rows(y, tp) : y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    if (!gradients[0].defined()) return {{}, {}, {}, {}, {}};
    comm::Group& tp = saved_group(ctx);
    const auto crossing = static_cast<Crossing>(ctx->saved_data["crossing"].toInt());
    const bool gathers = crossing == Crossing::gather_input;
    const at::Tensor dy = crossing == Crossing::scatter_output ? gather_rows(gradients[0], tp) : gradients[0];
    const at::Tensor x = saved_input(ctx);
    add_weight_grad(ctx->saved_data["grad"].toTensor(), dy, gathers ? gather_rows(x, tp) : x);
    at::Tensor dx;
    if (ctx->needs_input_grad(0)) {
      dx = at::mm(dy, ctx->saved_data["weight"].toTensor());
      if (gathers) dx = reduce_scatter_rows(dx, tp);
    }
    ctx->saved_data.clear();  // frees what a Rebuild captured as soon as it was used
    return {dx, {}, {}, {}, {}};
  }
};

at::Tensor linear_over(const at::Tensor& x, const Parameter& weight, const Rebuild& rebuild, comm::Group& tp,
                       Crossing crossing) {
  if (!records_backward(weight)) return LinearFunction::product(x, weight, tp, crossing);
  return LinearFunction::apply(x, weight, rebuild, &tp, crossing);
}

bool has_grouped_mm(const at::Tensor& x) {
  return x.is_cuda() && x.scalar_type() == at::kBFloat16;
}

/// Ends of the experts' rows as _grouped_mm wants them: int32 on the device.
at::Tensor row_ends(const std::vector<std::int64_t>& rows_E, const at::Tensor& like) {
  const at::Tensor rows = at::tensor(rows_E, at::kLong);
  return rows.cumsum(0).to(at::kInt).to(like.device(), /*non_blocking=*/true);
}

/// [R, D] x [E, D, F] -> [R, F]
at::Tensor grouped_product(const at::Tensor& x, const at::Tensor& weight_EDF, const std::vector<std::int64_t>& rows_E,
                           bool for_inference = false) {
  if (has_grouped_mm(x)) return at::_grouped_mm(x, weight_EDF, row_ends(rows_E, x));
  at::Tensor y = at::empty({x.size(0), weight_EDF.size(2)}, x.options());
  std::int64_t begin = 0;
  for (std::size_t e = 0; e < rows_E.size(); begin += rows_E[e], ++e) {
    if (rows_E[e] == 0) continue;
    at::Tensor slice = y.narrow(0, begin, rows_E[e]);
    const at::Tensor rows = x.narrow(0, begin, rows_E[e]), weight = weight_EDF[static_cast<std::int64_t>(e)];
    if (for_inference && has_row_product(rows, weight.t())) {
      row_product(slice, rows, weight.t());
    } else {
      at::mm_out(slice, rows, weight);
    }
  }
  return y;
}

void add_grouped_weight_grad(const at::Tensor& grad_EFD, const at::Tensor& dy, const at::Tensor& x,
                             const std::vector<std::int64_t>& rows_E) {
  if (has_grouped_mm(x)) {
    add_into(grad_EFD, at::_grouped_mm(dy.t(), x, row_ends(rows_E, x)));
    return;
  }
  std::int64_t begin = 0;
  for (std::size_t e = 0; e < rows_E.size(); begin += rows_E[e], ++e) {
    if (rows_E[e] == 0) continue;
    add_weight_grad(grad_EFD[static_cast<std::int64_t>(e)], dy.narrow(0, begin, rows_E[e]),
                    x.narrow(0, begin, rows_E[e]));
  }
}

struct GroupedLinearFunction : torch::autograd::Function<GroupedLinearFunction> {
  static at::Tensor forward(AutogradContext* ctx, at::Tensor x, const Parameter& weight,
                            const std::vector<std::int64_t>& rows_E, const Rebuild& rebuild) {
    save_input(ctx, x, rebuild);
    ctx->saved_data["weight"] = weight.data;
    ctx->saved_data["grad"] = weight.grad;
    ctx->saved_data["rows"] = rows_E;
    return grouped_product(x, weight.data.transpose(1, 2), rows_E);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& dy) {
    if (!dy[0].defined()) return {{}, {}, {}, {}};
    const auto rows_E = ctx->saved_data["rows"].toIntVector();
    add_grouped_weight_grad(ctx->saved_data["grad"].toTensor(), dy[0], saved_input(ctx), rows_E);
    at::Tensor dx;
    if (ctx->needs_input_grad(0)) dx = grouped_product(dy[0], ctx->saved_data["weight"].toTensor(), rows_E);
    ctx->saved_data.clear();
    return {dx, {}, {}, {}};
  }
};

}  // namespace

bool records_backward(const Parameter& weight) {
  return at::GradMode::is_enabled() && weight.grad.defined();
}

at::Tensor inference_product(const at::Tensor& x_RD, const at::Tensor& weight_FD) {
  if (!has_row_product(x_RD, weight_FD)) return at::mm(x_RD, weight_FD.t());
  at::Tensor y = at::empty({x_RD.size(0), weight_FD.size(0)}, x_RD.options());
  row_product(y, x_RD, weight_FD);
  return y;
}

at::Tensor linear(const at::Tensor& x_RD, const Parameter& weight, const Rebuild& rebuild) {
  return linear_over(x_RD, weight, rebuild, comm::self_group(), Crossing::none);
}

at::Tensor ColumnParallelLinear::operator()(const at::Tensor& x_RD, const Rebuild& rebuild) const {
  return linear_over(x_RD, weight_, rebuild, *tp_, Crossing::gather_input);
}

at::Tensor RowParallelLinear::operator()(const at::Tensor& x_RD, const Rebuild& rebuild) const {
  return linear_over(x_RD, weight_, rebuild, *tp_, Crossing::scatter_output);
}

at::Tensor GroupedLinear::operator()(const at::Tensor& x_RD, const std::vector<std::int64_t>& rows_E,
                                     const Rebuild& rebuild) const {
  if (!records_backward(weight_))
    return grouped_product(x_RD, weight_.data.transpose(1, 2), rows_E, !weight_.grad.defined());
  return GroupedLinearFunction::apply(x_RD, weight_, rows_E, rebuild);
}

}  // namespace osler::parallel
