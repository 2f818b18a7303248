// Next-token loss without ever holding full logits: chunks of rows go through head, softmax and, when gradients are on,
// straight back to the hidden states' gradient, so that a [rows, V] block exists for one chunk only.
#pragma once

#include <ATen/core/Tensor.h>

#include "parallel/parameter.hpp"

namespace osler::loss {

constexpr std::int64_t kIgnoreLabel = -100;

struct LossSum {
  at::Tensor sum;                 ///< scalar, fp32 (fp64 models: fp64): sum over supervised rows of -log p(label); differentiable
  at::Tensor loss_R;              ///< [R], same dtype, detached; 0 where the label is kIgnoreLabel
  std::int64_t num_tokens = 0;    ///< supervised rows
};

/// hidden_RD in model dtype, labels_R int64 on the same device. The gradient is that of `sum`, scaled by what backward
/// passes in; the head's gradient goes into head.grad.
LossSum cross_entropy(const at::Tensor& hidden_RD, const parallel::Parameter& head, const at::Tensor& labels_R);

/// log p(label) per row without gradients, [R] fp32 (fp64 models: fp64), and whether the label is the argmax (bool [R]).
std::pair<at::Tensor, at::Tensor> token_log_probs(const at::Tensor& hidden_RD, const at::Tensor& head_VD, const at::Tensor& labels_R);

}  // namespace osler::loss
