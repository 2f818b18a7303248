// Rows whose logits the loss holds at a time.
#pragma once

#include <algorithm>
#include <cstdint>

namespace osler::plan {

/// A block of at most 64 MiB, in steps of 128 rows between 128 and 1024: as in lib/loss/cross_entropy.cpp.
inline std::int64_t loss_chunk_rows(std::int64_t rows, std::int64_t local_vocab, double width) {
  constexpr double kChunkBytes = 64 << 20;
  constexpr std::int64_t kLeastRows = 128, kMostRows = 1024;
  const auto fitting = static_cast<std::int64_t>(kChunkBytes / (static_cast<double>(local_vocab) * width));
  const std::int64_t chunk = std::clamp(fitting / kLeastRows * kLeastRows, kLeastRows, kMostRows);
  return std::clamp<std::int64_t>(rows, 1, chunk);
}

}  // namespace osler::plan
