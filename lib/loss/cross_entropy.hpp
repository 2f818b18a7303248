// Next-token loss without ever holding full logits: chunks of rows go through head, softmax and, when gradients are on,
// straight back to the hidden states' gradient, so that a [rows, V] block exists for one chunk only.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <utility>

#include "comm/group.hpp"
#include "parallel/parameter.hpp"

namespace osler::loss {

constexpr std::int64_t kIgnoreLabel = -100;

struct LossSum {
  at::Tensor sum;     ///< scalar, fp32 (fp64 models: fp64), detached: sum over supervised rows of -log p(label)
  at::Tensor loss_R;  ///< [R], same dtype, detached; 0 where the label is kIgnoreLabel
  std::int64_t num_tokens = 0;  ///< supervised rows
  at::Tensor scaled;  ///< scalar, sum * grad_scale: what backward() starts from; differentiable when hidden is
};

/// hidden_RD in model dtype: this rank's rows [R/tp, D]; labels_R int64 on the same device: all R, as the loss; the
/// head's rows are cut over tp. `grad_scale` (1 / supervised tokens of the global batch) is taken now, because
/// gradients are formed in this pass: with gradients on, head.grad has its part on return, and scaled.backward() hands
/// the hidden states theirs. Add other losses to `scaled`, but never multiply it: the gradient that reaches it must be
/// 1 (checked on the CPU). Without gradients only the loss is computed. Throws DataError when a label is neither
/// kIgnoreLabel nor a row of the head (CPU). *Collective over tp.*
LossSum cross_entropy(const at::Tensor& hidden_RD, const parallel::Parameter& head, const at::Tensor& labels_R,
                      double grad_scale, comm::Group& tp = comm::self_group());

/// log p(label) per row without gradients, [R] fp32 (fp64 models: fp64), and whether the label is the argmax (bool
/// [R]; of equal logits the lowest id counts). hidden_RD and labels_R are the same on all tp ranks, as are the results;
/// the head's rows are cut over tp. Rows whose label is kIgnoreLabel give 0 and false. *Collective over tp.*
std::pair<at::Tensor, at::Tensor> token_log_probs(const at::Tensor& hidden_RD, const parallel::Parameter& head,
                                                  const at::Tensor& labels_R, comm::Group& tp = comm::self_group());

}  // namespace osler::loss
