// NEFTune: uniform noise on the embeddings of the tokens that are trained on, scaled by the length of their own
// conversation. Local, pure: the same on every rank that holds the sequence, in whatever batch, and after a restart.
// Source: Jain et al. 2023, "NEFTune: Noisy embeddings improve instruction finetuning" (arXiv 2310.05914), section 2.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "data/batch.hpp"

namespace osler::train {

struct NoiseOptions {
  double alpha = 0;
  std::int64_t hidden_size = 0;
  std::uint64_t seed = 0;
  c10::ScalarType dtype = c10::ScalarType::Float;  ///< of the model
};

/// [B * T, hidden_size] on the host: alpha / sqrt(L * hidden_size) * U(-1, 1), drawn in fp32 and rounded to `dtype`, L
/// the rows of the segment in its window; rows of padding are 0. Keyed by (seed, source, epoch, window, row).
at::Tensor neftune_noise(const data::Batch& batch, const NoiseOptions& options);

}  // namespace osler::train
