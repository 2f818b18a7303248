// What the model is fed. Local.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace osler::data {

/// Names one training sequence for ever: the same id under every layout.
struct SampleId {
  std::int32_t source = 0;  ///< index into the configured sources
  std::int64_t epoch = 0;
  std::int64_t window = 0;  ///< which window of that source's tokens, in their stored order; -1 = a row of padding
  bool operator==(const SampleId&) const = default;
};

/// A micro-batch. int64 tensors [B, T] on the host; segments count documents within a row from 0.
struct Batch {
  at::Tensor tokens_BT;
  at::Tensor labels_BT;     ///< already shifted: labels[t] is the token after tokens[t]; -100 where unsupervised
  at::Tensor positions_BT;  ///< restart at 0 with each segment
  at::Tensor segments_BT;
  std::vector<std::int32_t> source_B;
  std::vector<SampleId> samples;
  std::vector<std::int64_t> lengths_B;  ///< rows of each sequence before its padding
  std::int64_t num_supervised = 0;
};

}  // namespace osler::data
