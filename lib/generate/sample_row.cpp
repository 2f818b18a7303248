#include <algorithm>
#include <array>
#include <bit>
#include <numeric>

#include "generate/token_choice.hpp"
#include "parallel/rows.hpp"

namespace osler::generate {
namespace {

using parallel::kLanes;

constexpr std::int64_t kBlock = 256;  // tokens whose sum is skipped at once when u is looked for

/// terms[i] = exp((logits[i] - max) / temperature), 0 where fp32 has no such small number
OSLER_CLONES void softmax_terms(const float* logits, std::int64_t size, float inverse_temperature, float* terms) {
  float top = logits[0];
  for (std::int64_t i = 1; i < size; ++i) top = top > logits[i] ? top : logits[i];
  for (std::int64_t i = 0; i < size; ++i) {
    const float x = (logits[i] - top) * inverse_temperature;
    terms[i] = x < -87.0f ? 0.0f : parallel::exp_of(x);
  }
}

double sum_of(const float* terms, std::int64_t begin, std::int64_t end) {
  double lanes[kLanes] = {};
  std::int64_t i = begin;
  for (; i + kLanes <= end; i += kLanes)
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += static_cast<double>(terms[i + lane]);
  for (int lane = 0; i < end; ++i, ++lane) lanes[lane] += static_cast<double>(terms[i]);
  return std::accumulate(lanes, lanes + kLanes, 0.0);
}

std::vector<double> block_sums(const float* terms, std::int64_t size) {
  std::vector<double> sums;
  for (std::int64_t begin = 0; begin < size; begin += kBlock)
    sums.push_back(sum_of(terms, begin, std::min(size, begin + kBlock)));
  return sums;
}

/// Buckets of positive floats in order of size: the exponent and the first three bits after it.
std::size_t bucket_of(float term) {
  return std::bit_cast<std::uint32_t>(term) >> 20;
}
constexpr std::size_t kNumBuckets = 2048;

/// Sets all but the likeliest terms that reach `wanted` to 0. Sorts no more than one bucket.
void keep_nucleus(float* terms, std::int64_t size, double wanted) {
  std::vector<double> mass(kNumBuckets, 0);
  for (std::int64_t i = 0; i < size; ++i) mass[bucket_of(terms[i])] += static_cast<double>(terms[i]);
  std::size_t bucket = kNumBuckets - 1;
  double above = 0;
  while (bucket > 0 && above + mass[bucket] < wanted) above += mass[bucket--];
  std::vector<std::int64_t> edge;
  for (std::int64_t i = 0; i < size; ++i)
    if (bucket_of(terms[i]) == bucket) edge.push_back(i);
  std::stable_sort(edge.begin(), edge.end(), [&](std::int64_t a, std::int64_t b) { return terms[a] > terms[b]; });
  std::size_t kept = 0;
  while (kept < edge.size() && (above < wanted || kept == 0)) above += static_cast<double>(terms[edge[kept++]]);
  std::vector<std::pair<std::int64_t, float>> survivors;
  for (std::size_t i = 0; i < kept; ++i) survivors.emplace_back(edge[i], terms[edge[i]]);
  for (std::int64_t i = 0; i < size; ++i)
    if (bucket_of(terms[i]) <= bucket) terms[i] = 0;
  for (const auto& [token, term] : survivors) terms[token] = term;
}

}  // namespace

std::int64_t sample_row(const float* logits, std::int64_t vocab_size, const Sampling& sampling, double u,
                        std::vector<float>& scratch) {
  scratch.resize(static_cast<std::size_t>(vocab_size));
  float* terms = scratch.data();
  softmax_terms(logits, vocab_size, static_cast<float>(1.0 / sampling.temperature), terms);
  std::vector<double> sums = block_sums(terms, vocab_size);
  if (sampling.top_p < 1) {
    keep_nucleus(terms, vocab_size, sampling.top_p * std::accumulate(sums.begin(), sums.end(), 0.0));
    sums = block_sums(terms, vocab_size);
  }
  double left = u * std::accumulate(sums.begin(), sums.end(), 0.0);
  std::size_t block = 0;
  while (block + 1 < sums.size() && left >= sums[block]) left -= sums[block++];
  std::int64_t chosen = -1;  // the last possible one, where rounding leaves a rest of u
  for (auto i = static_cast<std::int64_t>(block) * kBlock; i < vocab_size; ++i) {
    if (terms[i] <= 0) continue;
    chosen = i;
    left -= static_cast<double>(terms[i]);
    if (left < 0) break;
  }
  for (std::int64_t i = vocab_size - 1; chosen < 0 && i >= 0; --i)
    if (terms[i] > 0) chosen = i;
  return std::max<std::int64_t>(chosen, 0);
}

}  // namespace osler::generate
