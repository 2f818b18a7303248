// Cross entropy of a block of logits whose vocabulary lies in parts on the tp ranks: the ranks agree on each row's
// maximum, sum of exponentials and label logit, and each forms the gradient of its own part.
// Source: Shoeybi et al. 2019 (Megatron-LM), section 3, "parallel cross entropy".
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "comm/group.hpp"

namespace osler::loss {

/// As cross_entropy_rows (softmax_rows.hpp), for logits [rows, V/tp] that begin at word `first` of the vocabulary;
/// labels and loss are the same on all tp ranks. *Collective over tp*: a maximum of [rows] and a sum of [2, rows], in
/// the loss's type.
void vocab_parallel_cross_entropy_rows(at::Tensor logits, const at::Tensor& labels, at::Tensor loss,
                                       std::optional<double> grad_scale, std::int64_t first, comm::Group& tp);

}  // namespace osler::loss
