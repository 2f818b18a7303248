#include "model/cached_rows.hpp"

#include <algorithm>

namespace osler::model {
namespace {

using parallel::Bf16Bits;
using parallel::exp_of;
using parallel::kLanes;
using parallel::load;
using parallel::store;
using parallel::sum_of_lanes;

// Slots of one sequence are neighbours at best in part: the next keys are asked for ahead of their use.
constexpr std::size_t kAhead = 4;

template <class T>
OSLER_INLINE void prefetch_row(const T* row, std::int64_t width) {
  for (std::int64_t i = 0; i < width; i += static_cast<std::int64_t>(64 / sizeof(T))) __builtin_prefetch(row + i);
}

template <class T>
OSLER_INLINE float dot(const float* q, const T* key, std::int64_t width) {
  const std::int64_t blocked = width / kLanes * kLanes;
  float lanes[kLanes] = {};
  for (std::int64_t i = 0; i < blocked; i += kLanes)
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += q[i + lane] * load(key, i + lane);
  for (std::int64_t i = blocked; i < width; ++i) lanes[i - blocked] += q[i] * load(key, i);
  // As a tree: a key is short, and a chain of additions would cost more than its products.
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  return lanes[0];
}

/// The slots of one row: those seen, then its own.
struct Slots {
  const std::int32_t* seen;
  std::size_t num_seen;
  std::int32_t own;
  std::size_t size() const { return num_seen + 1; }
  std::int32_t operator[](std::size_t j) const { return j < num_seen ? seen[j] : own; }
};

/// scores[g][j] = scale * q_g . k_j
template <class T>
OSLER_INLINE void score_keys(const float* q, const T* keys, const Slots& slots, std::int64_t num_queries,
                             std::int64_t width, float* scores) {
  const std::size_t count = slots.size();
  for (std::size_t j = 0; j < count; ++j) {
    if (j + kAhead < count) prefetch_row(keys + slots[j + kAhead] * width, width);
    const T* key = keys + slots[j] * width;
    for (std::int64_t g = 0; g < num_queries; ++g)
      scores[static_cast<std::size_t>(g) * count + j] = dot(q + g * width, key, width);
  }
}

/// scores <- exp(scores - max); -> their sum
OSLER_INLINE float softmax_terms(float* scores, std::size_t count) {
  float top = scores[0];
  for (std::size_t j = 1; j < count; ++j) top = top > scores[j] ? top : scores[j];
  const std::size_t blocked = count / kLanes * kLanes;
  float lanes[kLanes] = {};
  for (std::size_t j = 0; j < blocked; j += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const float e = exp_of(scores[j + static_cast<std::size_t>(lane)] - top);
      scores[j + static_cast<std::size_t>(lane)] = e;
      lanes[lane] += e;
    }
  }
  for (std::size_t j = blocked; j < count; ++j) {
    scores[j] = exp_of(scores[j] - top);
    lanes[j - blocked] += scores[j];
  }
  return sum_of_lanes(lanes);
}

template <class T>
OSLER_INLINE void add_values(const float* scores, const T* values, const Slots& slots, std::int64_t num_queries,
                             std::int64_t width, float* sums) {
  const std::size_t count = slots.size();
  for (std::size_t j = 0; j < count; ++j) {
    if (j + kAhead < count) prefetch_row(values + slots[j + kAhead] * width, width);
    const T* value = values + slots[j] * width;
    for (std::int64_t g = 0; g < num_queries; ++g) {
      const float weight = scores[static_cast<std::size_t>(g) * count + j];
      float* sum = sums + g * width;
      for (std::int64_t i = 0; i < width; ++i) sum[i] += weight * load(value, i);
    }
  }
}

template <class T>
OSLER_INLINE void row_body(const CachedRows& rows, std::int64_t row, std::int64_t kv_head, const Slots& slots,
                           float* scratch) {
  const std::int64_t group = rows.num_heads / rows.num_kv_heads, width = rows.head_dim;
  const std::int64_t first = kv_head * group * width, head_size = rows.num_slots * width;
  float *q = scratch, *sums = q + group * width, *scores = sums + group * width;
  const T* queries = static_cast<const T*>(rows.qkv) + row * rows.stride + first;
  for (std::int64_t i = 0; i < group * width; ++i) q[i] = load(queries, i) * rows.scale;
  for (std::int64_t i = 0; i < group * width; ++i) sums[i] = 0;
  score_keys(q, static_cast<const T*>(rows.keys) + kv_head * head_size, slots, group, width, scores);
  float* normalisers = q;  // the queries are done with
  for (std::int64_t g = 0; g < group; ++g)
    normalisers[g] = softmax_terms(scores + static_cast<std::size_t>(g) * slots.size(), slots.size());
  add_values(scores, static_cast<const T*>(rows.values) + kv_head * head_size, slots, group, width, sums);
  T* out = static_cast<T*>(rows.out) + row * rows.num_heads * width + first;
  for (std::int64_t g = 0; g < group; ++g)
    for (std::int64_t i = 0; i < width; ++i) store(out, g * width + i, sums[g * width + i] / normalisers[g]);
}

float* make_room(const CachedRows& rows, std::size_t num_keys, std::vector<float>& scratch) {
  const auto group = static_cast<std::size_t>(rows.num_heads / rows.num_kv_heads);
  scratch.resize(std::max(scratch.size(), group * (2 * static_cast<std::size_t>(rows.head_dim) + num_keys)));
  return scratch.data();
}

OSLER_CLONES void row_of(const CachedRows& rows, const float*, std::int64_t row, std::int64_t kv_head,
                         const Slots& slots, float* scratch) {
  row_body<float>(rows, row, kv_head, slots, scratch);
}
OSLER_CLONES void row_of(const CachedRows& rows, const Bf16Bits*, std::int64_t row, std::int64_t kv_head,
                         const Slots& slots, float* scratch) {
  row_body<Bf16Bits>(rows, row, kv_head, slots, scratch);
}

}  // namespace

void cached_row(const CachedRows& rows, const float* type, std::int64_t row, std::int64_t kv_head,
                std::span<const std::int32_t> seen, std::int32_t own, std::vector<float>& scratch) {
  row_of(rows, type, row, kv_head, {seen.data(), seen.size(), own}, make_room(rows, seen.size() + 1, scratch));
}

void cached_row(const CachedRows& rows, const Bf16Bits* type, std::int64_t row, std::int64_t kv_head,
                std::span<const std::int32_t> seen, std::int32_t own, std::vector<float>& scratch) {
  row_of(rows, type, row, kv_head, {seen.data(), seen.size(), own}, make_room(rows, seen.size() + 1, scratch));
}

}  // namespace osler::model
