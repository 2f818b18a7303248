#include "parallel/token_dispatcher.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/error.hpp"
#include "parallel/rows.hpp"

namespace osler::parallel {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Experts with many rows get a multiple of this: GEMM libraries prepare a kernel per shape (oneDNN in bf16: 1 ms and
// 0.4 MB each, a tenth of a training step), and row counts would hardly ever repeat. At most 1/8 more rows for any
// expert and 1.5 % more for one with 1000.
constexpr std::int64_t kRowMultiple = 32;
constexpr std::int64_t kLeastPaddedRows = 8 * kRowMultiple;

std::int64_t padded(std::int64_t rows) {
  return rows < kLeastPaddedRows ? rows : (rows + kRowMultiple - 1) / kRowMultiple * kRowMultiple;
}

template <class T>
OSLER_INLINE void sum_copies(const T* y, const std::int64_t* place, std::int64_t top_k, std::int64_t width, T* out,
                             std::int64_t begin, std::int64_t end) {
  for (std::int64_t token = begin; token < end; ++token) {
    const T* first = y + place[token * top_k] * width;
    T* row = out + token * width;
    if (top_k == 2) {  // the published models' case: one pass
      const T* second = y + place[token * top_k + 1] * width;
      for (std::int64_t i = 0; i < width; ++i) store(row, i, load(first, i) + load(second, i));
      continue;
    }
    for (std::int64_t i = 0; i < width; ++i) {
      float sum = 0;
      for (std::int64_t k = 0; k < top_k; ++k) sum += load(y + place[token * top_k + k] * width, i);
      store(row, i, sum);
    }
  }
}

OSLER_CLONES void sum_copies_fp32(const float* y, const std::int64_t* place, std::int64_t top_k, std::int64_t width,
                                  float* out, std::int64_t begin, std::int64_t end) {
  sum_copies(y, place, top_k, width, out, begin, end);
}
OSLER_CLONES void sum_copies_bf16(const Bf16Bits* y, const std::int64_t* place, std::int64_t top_k, std::int64_t width,
                                  Bf16Bits* out, std::int64_t begin, std::int64_t end) {
  sum_copies(y, place, top_k, width, out, begin, end);
}

/// [R, D] -> [T, D]
at::Tensor sum_over_choices(const at::Tensor& y, const at::Tensor& place, std::int64_t top_k) {
  const std::int64_t tokens = place.size(0) / top_k, width = y.size(1);
  if (!has_host_rows(y)) {
    const auto wide = y.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    return y.index_select(0, place).view({tokens, top_k, width}).sum(1, false, wide).to(y.scalar_type());
  }
  at::Tensor out = at::empty({tokens, width}, y.options());
  const auto* at_row = place.const_data_ptr<std::int64_t>();
  at::parallel_for(0, tokens, 64, [&](std::int64_t begin, std::int64_t end) {
    if (y.scalar_type() == at::kFloat) {
      sum_copies_fp32(rows_of<float>(y), at_row, top_k, width, rows_of<float>(out), begin, end);
    } else {
      sum_copies_bf16(rows_of<Bf16Bits>(y), at_row, top_k, width, rows_of<Bf16Bits>(out), begin, end);
    }
  });
  return out;
}

// Dispatch and combine are each other's transpose: copy rows out, and sum the copies.
struct DispatchFunction : torch::autograd::Function<DispatchFunction> {
  static at::Tensor forward(AutogradContext* ctx, at::Tensor x, at::Tensor source, at::Tensor place,
                            std::int64_t top_k) {
    ctx->saved_data["place"] = place;
    ctx->saved_data["top_k"] = top_k;
    return x.index_select(0, source);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& dy) {
    if (!dy[0].defined()) return {{}, {}, {}, {}};
    return {sum_over_choices(dy[0].contiguous(), ctx->saved_data["place"].toTensor(), ctx->saved_data["top_k"].toInt()),
            {},
            {},
            {}};
  }
};

struct CombineFunction : torch::autograd::Function<CombineFunction> {
  static at::Tensor forward(AutogradContext* ctx, at::Tensor y, at::Tensor source, at::Tensor place,
                            std::int64_t top_k) {
    ctx->saved_data["source"] = source;
    return sum_over_choices(y, place, top_k);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& dout) {
    if (!dout[0].defined()) return {{}, {}, {}, {}};
    return {dout[0].index_select(0, ctx->saved_data["source"].toTensor()), {}, {}, {}};
  }
};

}  // namespace

TokenDispatcher::TokenDispatcher(const at::Tensor& expert_TK, std::int64_t num_experts) : top_k_(expert_TK.size(1)) {
  const at::NoGradGuard no_grad;
  const at::Tensor expert = expert_TK.reshape({-1});
  const at::Tensor counts = at::bincount(expert, {}, num_experts).to(at::kCPU);
  OSLER_CHECK(counts.size(0) == num_experts, "an expert outside [0, ", num_experts, ")");
  std::vector<std::int64_t> shift_E;  // padding before each expert's rows
  std::int64_t routed = 0, total = 0;
  for (std::int64_t e = 0; e < num_experts; ++e) {
    const std::int64_t rows = counts.const_data_ptr<std::int64_t>()[e];
    shift_E.push_back(total - routed);
    rows_E_.push_back(padded(rows));
    routed += rows;
    total += rows_E_.back();
  }
  const auto [sorted, order] = at::sort(expert, /*stable=*/true, 0, /*descending=*/false);
  const at::Tensor shift = at::tensor(shift_E, at::kLong).to(expert.device());
  const at::Tensor row = at::arange(routed, expert.options()) + shift.index_select(0, sorted);
  place_TK_ = at::empty_like(order);
  place_TK_.scatter_(0, order, row);
  source_R_ = at::zeros({total}, expert.options());
  source_R_.scatter_(0, row, at::div(order, top_k_, "floor"));
}

at::Tensor TokenDispatcher::dispatch(const at::Tensor& x_TD) const {
  return DispatchFunction::apply(x_TD, source_R_, place_TK_, top_k_);
}

at::Tensor TokenDispatcher::combine(const at::Tensor& y_RD) const {
  return CombineFunction::apply(y_RD, source_R_, place_TK_, top_k_);
}

at::Tensor TokenDispatcher::dispatch_weights(const at::Tensor& weight_TK) const {
  return at::zeros({source_R_.size(0)}, weight_TK.options()).scatter(0, place_TK_, weight_TK.reshape({-1}));
}

}  // namespace osler::parallel
