#include "loss/softmax_rows.hpp"

#include <ATen/ATen.h>

#include <cmath>
#include <vector>

#include "loss/cross_entropy.hpp"
#include "parallel/rows.hpp"

namespace osler::loss {
namespace {

using parallel::Bf16Bits;
using parallel::exp_of;
using parallel::kLanes;
using parallel::load;
using parallel::store;
using parallel::sum_of_lanes;

/// One row: exponentials go to `scratch` (fp32; the row itself where it is fp32) and, scaled, back to the row. -> loss
template <class T>
OSLER_INLINE float one_row(T* row, float* scratch, std::int64_t vocab, std::int64_t label, bool with_grad,
                           float scale) {
  const std::int64_t blocked = vocab / kLanes * kLanes;
  float highest[kLanes], lanes[kLanes] = {};
  for (int lane = 0; lane < kLanes; ++lane) highest[lane] = load(row, 0);
  for (std::int64_t i = 0; i < blocked; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const float value = load(row, i + lane);
      highest[lane] = highest[lane] > value ? highest[lane] : value;
    }
  }
  float top = highest[0];
  for (int lane = 1; lane < kLanes; ++lane) top = top > highest[lane] ? top : highest[lane];
  for (std::int64_t i = blocked; i < vocab; ++i) top = top > load(row, i) ? top : load(row, i);
  const float label_logit = load(row, label);
  for (std::int64_t i = 0; i < blocked; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const float e = exp_of(load(row, i + lane) - top);
      scratch[i + lane] = e;
      lanes[lane] += e;
    }
  }
  for (std::int64_t i = blocked; i < vocab; ++i) {
    const float e = exp_of(load(row, i) - top);
    scratch[i] = e;
    lanes[i - blocked] += e;
  }
  const float sum = sum_of_lanes(lanes);
  if (with_grad) {
    const float factor = scale / sum;
    const float at_label = scratch[label] * factor - scale;
    for (std::int64_t i = 0; i < vocab; ++i) store(row, i, scratch[i] * factor);
    store(row, label, at_label);
  }
  return std::log(sum) + top - label_logit;
}

struct Block {
  void* logits;
  const std::int64_t* labels;
  float* loss;
  std::int64_t vocab;
  bool with_grad;
  float scale;
};

template <class T>
OSLER_INLINE void block_body(const Block& block, float* scratch, std::int64_t begin, std::int64_t end) {
  for (std::int64_t r = begin; r < end; ++r) {
    T* row = static_cast<T*>(block.logits) + r * block.vocab;
    if (block.labels[r] == kIgnoreLabel) {
      block.loss[r] = 0;
      if (block.with_grad)
        for (std::int64_t i = 0; i < block.vocab; ++i) store(row, i, 0.0f);
      continue;
    }
    float* exponentials = scratch;
    if constexpr (sizeof(T) == sizeof(float)) exponentials = row;
    block.loss[r] = one_row(row, exponentials, block.vocab, block.labels[r], block.with_grad, block.scale);
  }
}

OSLER_CLONES void block_rows(const Block& block, const float*, float* scratch, std::int64_t begin, std::int64_t end) {
  block_body<float>(block, scratch, begin, end);
}
OSLER_CLONES void block_rows(const Block& block, const Bf16Bits*, float* scratch, std::int64_t begin,
                             std::int64_t end) {
  block_body<Bf16Bits>(block, scratch, begin, end);
}

void rows_anywhere(at::Tensor& logits, const at::Tensor& labels, at::Tensor& loss, std::optional<double> grad_scale) {
  const at::Tensor ignored = labels.eq(kIgnoreLabel);
  const at::Tensor index = labels.masked_fill(ignored, 0).unsqueeze(1);
  at::Tensor log_p = at::log_softmax(logits, -1, loss.scalar_type());
  loss.copy_(log_p.gather(1, index).squeeze(1).neg_().masked_fill_(ignored, 0));
  if (!grad_scale) return;
  const at::Tensor scale = at::full_like(loss, *grad_scale).masked_fill_(ignored, 0).unsqueeze(1);
  log_p.exp_().mul_(scale).scatter_add_(1, index, scale.neg());
  logits.copy_(log_p);
}

}  // namespace

void cross_entropy_rows(at::Tensor logits, const at::Tensor& labels, at::Tensor loss,
                        std::optional<double> grad_scale) {
  if (!parallel::has_host_rows(logits)) return rows_anywhere(logits, labels, loss, grad_scale);
  const Block block{
      logits.data_ptr(),      labels.const_data_ptr<std::int64_t>(),     loss.mutable_data_ptr<float>(), logits.size(1),
      grad_scale.has_value(), static_cast<float>(grad_scale.value_or(0))};
  parallel::with_row_type(logits, [&]<class T>(T*) {
    at::parallel_for(0, logits.size(0), 1, [&](std::int64_t begin, std::int64_t end) {
      std::vector<float> scratch(sizeof(T) == sizeof(float) ? 0 : static_cast<std::size_t>(block.vocab));
      block_rows(block, static_cast<const T*>(nullptr), scratch.data(), begin, end);
    });
  });
}

}  // namespace osler::loss
