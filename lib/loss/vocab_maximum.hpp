// What generation and scoring ask of logits whose vocabulary lies in parts on the tp ranks: the likeliest token of each
// row and the row's normaliser, in one visit to each row.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "comm/group.hpp"

namespace osler::loss {

struct VocabMaximum {
  at::Tensor argmax_R;       ///< [R] int64: of equal logits the lowest id
  at::Tensor top_R;          ///< [R] fp32 (fp64 logits: fp64): its logit
  at::Tensor log_sum_exp_R;  ///< [R], same type: a token's log-probability is its logit less this
};

/// logits [R, V/tp] in model dtype, beginning at word `first` of the vocabulary; left as they are. The same on all
/// ranks. *Collective over tp*: an all-gather of 3 fp64 numbers a row.
VocabMaximum vocab_maximum(const at::Tensor& logits, std::int64_t first, comm::Group& tp);

/// [R, V/tp], each rank's part -> [R, V]. *Collective over tp.*
at::Tensor gather_vocabulary(const at::Tensor& logits, comm::Group& tp);

}  // namespace osler::loss
