// Rows whose logits the loss holds at a time.
#pragma once

#include <algorithm>
#include <cstdint>

namespace osler::plan {

/// A block of at most 64 MiB, in steps of 128 rows between 128 and 1024. Three GEMMs with a 32000 x 512 head over 4096
/// rows took, on two cores, for chunks of 128, 256, 512, 1024, 2048 rows: fp32 5.5, 4.9, 4.5, 4.4, 4.4 s,
/// bf16 3.5, 2.7, 2.4, 2.3, 2.2 s (bf16 also adds its head gradient once per chunk). 64 MiB are 512 rows in fp32 and
/// 1024 in bf16.
inline std::int64_t loss_chunk_rows(std::int64_t rows, std::int64_t local_vocab, double width) {
  constexpr double kChunkBytes = 64 << 20;
  constexpr std::int64_t kLeastRows = 128, kMostRows = 1024;
  const auto fitting = static_cast<std::int64_t>(kChunkBytes / (static_cast<double>(local_vocab) * width));
  const std::int64_t chunk = std::clamp(fitting / kLeastRows * kLeastRows, kLeastRows, kMostRows);
  return std::clamp<std::int64_t>(rows, 1, chunk);
}

}  // namespace osler::plan
