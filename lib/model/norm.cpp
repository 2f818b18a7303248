#include "model/norm.hpp"

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

// Rows whose weight gradients are summed before they meet the others: fixed, so that the sum does not depend on
// threads.
constexpr std::int64_t kNormBlock = 128;

struct NormResult {
  at::Tensor sum, y, rstd;
};

NormResult norm_on_host(const at::Tensor& x, const at::Tensor& delta, const at::Tensor& weight, double eps) {
  NormResult result;
  result.sum = delta.defined() ? at::empty_like(x) : x;
  result.y = at::empty_like(x);
  result.rstd = at::empty({x.size(0), 1}, x.options().dtype(at::kFloat));
  parallel::with_row_type(x, [&]<class T>(T*) {
    const NormRows rows{rows_of<T>(x),        rows_of<T>(delta),           rows_of<T>(weight), rows_of<T>(result.sum),
                        rows_of<T>(result.y), rows_of<float>(result.rstd), x.size(1),          static_cast<float>(eps)};
    at::parallel_for(0, x.size(0), 16, [&](std::int64_t begin, std::int64_t end) {
      norm_rows(rows, static_cast<const T*>(nullptr), begin, end);
    });
  });
  return result;
}

at::Tensor norm_grad_on_host(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& rstd,
                             const at::Tensor& dy, const at::Tensor& dsum, const at::Tensor& weight_grad) {
  const std::int64_t num_rows = x.size(0), blocks = (num_rows + kNormBlock - 1) / kNormBlock;
  const at::Tensor dx = at::empty_like(x);
  const at::Tensor partial = at::zeros({blocks, x.size(1)}, x.options().dtype(at::kFloat));
  parallel::with_row_type(x, [&]<class T>(T*) {
    const NormGradRows rows{rows_of<T>(x),        rows_of<T>(weight), rows_of<T>(dy), rows_of<T>(dsum),
                            rows_of<float>(rstd), rows_of<T>(dx),     x.size(1)};
    at::parallel_for(0, blocks, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t block = begin; block < end; ++block) {
        norm_grad_rows(rows, static_cast<const T*>(nullptr), rows_of<float>(partial) + block * x.size(1),
                       block * kNormBlock, std::min(num_rows, (block + 1) * kNormBlock));
      }
    });
  });
  at::Tensor total = weight_grad;
  total.add_(partial.sum(0));
  return dx;
}

NormResult norm_anywhere(const at::Tensor& x, const at::Tensor& delta, const at::Tensor& weight, double eps) {
  NormResult result;
  result.sum = delta.defined() ? x + delta : x;
  if (x.is_cuda()) {
    std::tie(result.y, result.rstd) = at::_fused_rms_norm(result.sum, weight.sizes(), weight, eps);
    return result;
  }
  const at::Tensor wide = result.sum.to(at::kFloat);
  result.rstd = at::rsqrt(wide.pow(2).mean(-1, true) + eps);
  result.y = weight * (wide * result.rstd).to(x.scalar_type());
  return result;
}

/// Written out in the order in which autograd would differentiate norm_anywhere.
at::Tensor norm_grad_anywhere(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& rstd,
                              const at::Tensor& dy, const at::Tensor& dsum, at::Tensor weight_grad) {
  if (x.is_cuda()) {
    auto [dx, dweight] = at::_fused_rms_norm_backward(dy, x, weight.sizes(), rstd, weight, {true, true});
    weight_grad.add_(dweight);
    return dsum.defined() ? dsum + dx : dx;
  }
  const at::Tensor wide = x.to(at::kFloat);
  weight_grad.add_((dy * (wide * rstd).to(x.scalar_type())).sum(0));
  const at::Tensor dnormed = (dy * weight).to(at::kFloat);
  const at::Tensor dvariance = (dnormed * wide).sum(-1, true) * -0.5 * rstd.pow(3) / static_cast<double>(x.size(1));
  const at::Tensor dx = (dnormed * rstd + dvariance * (2 * wide)).to(x.scalar_type());
  return dsum.defined() ? dsum + dx : dx;
}

NormResult compute_norm(const at::Tensor& x, const at::Tensor& delta, const at::Tensor& weight, double eps) {
  const bool on_host = has_host_rows(x) && (!delta.defined() || has_host_rows(delta));
  return on_host ? norm_on_host(x, delta, weight, eps) : norm_anywhere(x, delta, weight, eps);
}

struct AddNormFunction : torch::autograd::Function<AddNormFunction> {
  /// -> {y, x + delta}, or {y} without delta
  static variable_list forward(AutogradContext* ctx, at::Tensor x, std::optional<at::Tensor> maybe_delta,
                               const parallel::Parameter& weight, double eps, at::Tensor* rstd) {
    const at::Tensor delta = maybe_delta.value_or(at::Tensor());
    ctx->set_materialize_grads(false);
    NormResult result = compute_norm(x, delta, weight.data, eps);
    ctx->saved_data["weight"] = weight.data;
    ctx->saved_data["grad"] = weight.grad;
    ctx->save_for_backward({result.sum, result.rstd});
    *rstd = result.rstd;
    if (!delta.defined()) return {result.y};
    return {result.y, result.sum};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    const bool has_delta = gradients.size() == 2;
    at::Tensor dx = has_delta ? gradients[1] : at::Tensor();
    if (gradients[0].defined()) {
      const auto saved = ctx->get_saved_variables();
      const at::Tensor weight = ctx->saved_data["weight"].toTensor(), grad = ctx->saved_data["grad"].toTensor();
      const at::Tensor dy = gradients[0].contiguous();
      const at::Tensor dsum = dx.defined() ? dx.contiguous() : dx;
      dx = has_host_rows(saved[0]) ? norm_grad_on_host(saved[0], weight, saved[1], dy, dsum, grad)
                                   : norm_grad_anywhere(saved[0], weight, saved[1], dy, dsum, grad);
    }
    ctx->saved_data.clear();
    return {dx, has_delta ? dx : at::Tensor(), {}, {}, {}};
  }
};

at::Tensor normed_again(const at::Tensor& sum, const at::Tensor& rstd, const at::Tensor& weight, double eps) {
  if (has_host_rows(sum) || sum.is_cuda()) return compute_norm(sum, {}, weight, eps).y;
  return weight * (sum.to(at::kFloat) * rstd).to(sum.scalar_type());
}

}  // namespace

Normed add_and_norm(const at::Tensor& x_RD, const at::Tensor& delta_RD, const parallel::Parameter& weight, double eps) {
  if (!parallel::records_backward(weight)) {
    const NormResult result = compute_norm(x_RD, delta_RD, weight.data, eps);
    return {result.sum, result.y, {}};
  }
  at::Tensor rstd;
  const variable_list out = AddNormFunction::apply(x_RD, parallel::if_defined(delta_RD), weight, eps, &rstd);
  const at::Tensor sum_RD = delta_RD.defined() ? out[1] : x_RD;
  auto rebuild = [sum = sum_RD.detach(), rstd, scale = weight.data, eps] {
    return normed_again(sum, rstd, scale, eps);
  };
  return {sum_RD, out[0], std::move(rebuild)};
}

}  // namespace osler::model
