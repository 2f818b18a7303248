#include "parallel/token_dispatcher.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <numeric>

#include "base/error.hpp"
#include "parallel/rebuild.hpp"
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

// Copying a token's row to its K places and summing the K copies are each other's transpose.
struct CopyOutFunction : torch::autograd::Function<CopyOutFunction> {
  static at::Tensor forward(AutogradContext* ctx, at::Tensor x, at::Tensor source, at::Tensor place,
                            std::int64_t top_k) {
    ctx->saved_data["place"] = place;
    ctx->saved_data["top_k"] = top_k;
    return x.index_select(0, source);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& dy) {
    if (!dy[0].defined()) return {{}, {}, {}, {}};
    const at::Tensor place = ctx->saved_data["place"].toTensor();
    return {sum_over_choices(dy[0].contiguous(), place, ctx->saved_data["top_k"].toInt()), {}, {}, {}};
  }
};

struct SumCopiesFunction : torch::autograd::Function<SumCopiesFunction> {
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

/// Rows in another order: `from` says where each row of the result comes from, `to` where each row of x went.
struct ReorderFunction : torch::autograd::Function<ReorderFunction> {
  static at::Tensor forward(AutogradContext* ctx, at::Tensor x, at::Tensor from, at::Tensor to) {
    ctx->saved_data["to"] = to;
    return x.index_select(0, from);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& dy) {
    if (!dy[0].defined()) return {{}, {}, {}};
    return {dy[0].index_select(0, ctx->saved_data["to"].toTensor()), {}, {}};
  }
};

using Rows = std::vector<std::int64_t>;

at::Tensor exchanged(const at::Tensor& x, const Rows& sent_P, const Rows& received_P, comm::Group& ep) {
  std::vector<std::int64_t> shape = x.sizes().vec();
  shape[0] = std::accumulate(received_P.begin(), received_P.end(), std::int64_t{0});
  at::Tensor received = at::empty(shape, x.options());
  ep.all_to_all(received, received_P, x.contiguous(), sent_P);
  return received;
}

/// The first sent_P[0] rows go to rank 0, and so on; backward sends the gradients back.
struct ExchangeFunction : torch::autograd::Function<ExchangeFunction> {
  static at::Tensor forward(AutogradContext* ctx, at::Tensor x, const Rows& sent_P, const Rows& received_P,
                            comm::Group* ep) {
    save_group(ctx, *ep);
    ctx->saved_data["sent"] = sent_P;
    ctx->saved_data["received"] = received_P;
    return exchanged(x, sent_P, received_P, *ep);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& dy) {
    const Rows sent_P = ctx->saved_data["sent"].toIntVector(), received_P = ctx->saved_data["received"].toIntVector();
    return {exchanged(dy[0], received_P, sent_P, saved_group(ctx)), {}, {}, {}};
  }
};

at::Tensor on_device_of(const std::vector<std::int64_t>& values, const at::Tensor& like) {
  return at::tensor(values, at::kLong).to(like.device(), /*non_blocking=*/true);
}

}  // namespace

TokenDispatcher::TokenDispatcher(const at::Tensor& expert_TK, std::int64_t num_experts, comm::Group& ep)
    : ep_(&ep), top_k_(expert_TK.size(1)) {
  const at::NoGradGuard no_grad;
  OSLER_CHECK(num_experts % ep.size() == 0, num_experts, " experts over ", ep.size(), " ranks");
  const at::Tensor expert = expert_TK.reshape({-1});
  const at::Tensor order = std::get<1>(at::sort(expert, /*stable=*/true, 0, /*descending=*/false));
  place_TK_ = at::empty_like(order);
  place_TK_.scatter_(0, order, at::arange(order.size(0), order.options()));
  source_S_ = at::div(order, top_k_, "floor");
  const at::Tensor counts_E = at::bincount(expert, {}, num_experts);
  OSLER_CHECK(counts_E.size(0) == num_experts, "an expert outside [0, ", num_experts, ")");
  exchange_counts(counts_E);
  if (ep.size() > 1) return;
  // Nothing is sent: tokens go straight to their experts' rows.
  place_TK_ = row_of_received_.index_select(0, place_TK_);
  source_S_ = order.numel() == 0 ? source_S_ : source_S_.index_select(0, received_of_R_);
}

void TokenDispatcher::exchange_counts(const at::Tensor& counts_E) {
  const std::int64_t num_ranks = ep_->size(), num_local = counts_E.size(0) / num_ranks;
  at::Tensor counts_PE = at::empty_like(counts_E);  // by sender, of this rank's experts
  const Rows equal(static_cast<std::size_t>(num_ranks), num_local);
  ep_->all_to_all(counts_PE, equal, counts_E, equal);
  const auto sums_of_blocks = [&](const at::Tensor& counts) {
    const at::Tensor sums = counts.view({num_ranks, num_local}).sum(1);
    return Rows(sums.const_data_ptr<std::int64_t>(), sums.const_data_ptr<std::int64_t>() + num_ranks);
  };
  const at::Tensor sent = counts_E.cpu(), received = counts_PE.cpu();
  sent_P_ = sums_of_blocks(sent);
  received_P_ = sums_of_blocks(received);
  lay_out_received(
      Rows(received.const_data_ptr<std::int64_t>(), received.const_data_ptr<std::int64_t>() + received.numel()));
}

/// Received rows come by sender and, within a sender, by expert; the experts want them by expert and then by sender.
void TokenDispatcher::lay_out_received(const std::vector<std::int64_t>& counts_PE) {
  const auto num_ranks = static_cast<std::size_t>(ep_->size()), num_local = counts_PE.size() / num_ranks;
  Rows first_PE(counts_PE.size());  // first received row of each (sender, expert)
  std::exclusive_scan(counts_PE.begin(), counts_PE.end(), first_PE.begin(), std::int64_t{0});
  Rows received_of_R,
      row_of_received(static_cast<std::size_t>(std::accumulate(counts_PE.begin(), counts_PE.end(), std::int64_t{0})));
  for (std::size_t e = 0; e < num_local; ++e) {
    const auto begin = static_cast<std::int64_t>(received_of_R.size());
    for (std::size_t p = 0; p < num_ranks; ++p) {
      const std::int64_t first = first_PE[p * num_local + e], count = counts_PE[p * num_local + e];
      for (std::int64_t received = first; received < first + count; ++received) {
        row_of_received[static_cast<std::size_t>(received)] = static_cast<std::int64_t>(received_of_R.size());
        received_of_R.push_back(received);
      }
    }
    rows_E_.push_back(padded(static_cast<std::int64_t>(received_of_R.size()) - begin));
    received_of_R.resize(static_cast<std::size_t>(begin + rows_E_.back()), 0);
  }
  received_of_R_ = on_device_of(received_of_R, place_TK_);
  row_of_received_ = on_device_of(row_of_received, place_TK_);
}

at::Tensor TokenDispatcher::dispatch(const at::Tensor& x_TD) const {
  const at::Tensor rows = CopyOutFunction::apply(x_TD, source_S_, place_TK_, top_k_);
  if (ep_->size() == 1) return rows;
  const at::Tensor received = ExchangeFunction::apply(rows, sent_P_, received_P_, ep_);
  return ReorderFunction::apply(received, received_of_R_, row_of_received_);
}

Rebuild TokenDispatcher::dispatch_again(const Rebuild& rebuild) const {
  if (!rebuild || ep_->size() > 1) return {};
  return [rebuild, source = source_S_] { return rebuild().index_select(0, source); };
}

at::Tensor TokenDispatcher::combine(const at::Tensor& y_RD) const {
  if (ep_->size() == 1) return SumCopiesFunction::apply(y_RD, source_S_, place_TK_, top_k_);
  const at::Tensor received = ReorderFunction::apply(y_RD, row_of_received_, received_of_R_);
  const at::Tensor rows = ExchangeFunction::apply(received, received_P_, sent_P_, ep_);
  return SumCopiesFunction::apply(rows, source_S_, place_TK_, top_k_);
}

at::Tensor TokenDispatcher::dispatch_weights(const at::Tensor& weight_TK) const {
  const at::Tensor flat = weight_TK.reshape({-1});
  const at::Tensor sorted = at::zeros({source_S_.size(0)}, flat.options()).scatter(0, place_TK_, flat);
  if (ep_->size() == 1) return sorted;
  const at::Tensor received = ExchangeFunction::apply(sorted, sent_P_, received_P_, ep_);
  return at::zeros({received_of_R_.size(0)}, flat.options()).scatter(0, row_of_received_, received);
}

}  // namespace osler::parallel
