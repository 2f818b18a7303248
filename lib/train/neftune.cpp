#include "train/neftune.hpp"

#include <ATen/ATen.h>

#include <cmath>
#include <vector>

#include "base/error.hpp"
#include "base/random.hpp"
#include "parallel/rows.hpp"

namespace osler::train {

namespace {

constexpr int kEpochBits = 48;  // of the first key word, below the source
constexpr int kRowBits = 24;    // of the second, below the window
constexpr std::int64_t kGrain = 8;

RandomStream stream_of(std::uint64_t seed, const data::SampleId& sample, std::int64_t t) {
  return {seed, Purpose::neftune,
          static_cast<std::uint64_t>(sample.source) << kEpochBits | static_cast<std::uint64_t>(sample.epoch),
          static_cast<std::uint64_t>(sample.window) << kRowBits | static_cast<std::uint64_t>(t)};
}

/// Uniform words to [-1, 1] times `magnitude`.
template <class Element>
OSLER_INLINE void scale_words(const std::uint32_t* words, std::int64_t count, float magnitude, Element* row) {
  const float scale = magnitude * 0x1p-31f;
  for (std::int64_t i = 0; i < count; ++i)
    parallel::store(row, i, static_cast<float>(static_cast<std::int32_t>(words[i])) * scale);
}
OSLER_CLONES void scale_fp32(const std::uint32_t* words, std::int64_t count, float magnitude, float* row) {
  scale_words(words, count, magnitude, row);
}
OSLER_CLONES void scale_bf16(const std::uint32_t* words, std::int64_t count, float magnitude, parallel::Bf16Bits* row) {
  scale_words(words, count, magnitude, row);
}

/// Rows of the segment that each row belongs to; 0 for padding.
std::vector<std::int64_t> segment_lengths(const data::Batch& batch) {
  const std::int64_t num_columns = batch.segments_BT.size(1);
  const at::Tensor segments_BT = batch.segments_BT.contiguous();
  const std::int64_t* segments = segments_BT.const_data_ptr<std::int64_t>();
  std::vector<std::int64_t> lengths(static_cast<std::size_t>(batch.segments_BT.numel()), 0);
  for (std::size_t b = 0; b < batch.samples.size(); ++b) {
    if (batch.samples[b].window < 0) continue;
    const std::int64_t row = static_cast<std::int64_t>(b) * num_columns;
    const std::int64_t end = row + batch.lengths_B[b];
    for (std::int64_t begin = row; begin < end;) {
      std::int64_t stop = begin;
      while (stop < end && segments[stop] == segments[begin]) ++stop;
      std::fill(lengths.begin() + begin, lengths.begin() + stop, stop - begin);
      begin = stop;
    }
  }
  return lengths;
}

}  // namespace

at::Tensor neftune_noise(const data::Batch& batch, const NoiseOptions& options) {
  const std::int64_t num_columns = batch.tokens_BT.size(1), width = options.hidden_size;
  OSLER_CHECK(num_columns < std::int64_t{1} << kRowBits, num_columns);
  const std::vector<std::int64_t> lengths = segment_lengths(batch);
  const bool is_bf16 = options.dtype == at::kBFloat16;
  const at::Tensor noise_RD =
      at::empty({static_cast<std::int64_t>(lengths.size()), width}, is_bf16 ? at::kBFloat16 : at::kFloat);
  auto* data = noise_RD.mutable_data_ptr();
  at::parallel_for(0, noise_RD.size(0), kGrain, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::uint32_t> words(static_cast<std::size_t>(width));
    for (std::int64_t r = begin; r < end; ++r) {
      const std::int64_t length = lengths[static_cast<std::size_t>(r)];
      if (length == 0) {
        noise_RD[r].zero_();
        continue;
      }
      stream_of(options.seed, batch.samples[static_cast<std::size_t>(r / num_columns)], r % num_columns)
          .next_words(words);
      const auto magnitude = static_cast<float>(options.alpha / std::sqrt(static_cast<double>(length * width)));
      if (is_bf16)
        scale_bf16(words.data(), width, magnitude, static_cast<parallel::Bf16Bits*>(data) + r * width);
      else
        scale_fp32(words.data(), width, magnitude, static_cast<float*>(data) + r * width);
    }
  });
  return noise_RD.to(options.dtype);
}

}  // namespace osler::train
