// Decoding's attention on the host: one query row of each sequence over keys and values in the cache, for all sequences
// and heads in one parallel loop. fp32 and bf16 (T = float or parallel::Bf16Bits), fp32 inside.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "parallel/rows.hpp"

namespace osler::model {

struct CachedRows {
  const void* qkv;            ///< [R, stride]: the queries of a row stand first
  const void *keys, *values;  ///< [num_kv_heads, num_slots, head_dim]
  void* out;                  ///< [R, num_heads * head_dim]
  std::int64_t stride, num_slots, num_heads, num_kv_heads, head_dim;
  float scale;
};

/// Row `row` over the keys in the slots `seen` and then `own`, for key-value head `kv_head` and the queries that share
/// it. `scratch` is kept from call to call to save allocations. The order of sums depends on nothing but the keys'
/// order.
void cached_row(const CachedRows& rows, const float*, std::int64_t row, std::int64_t kv_head,
                std::span<const std::int32_t> seen, std::int32_t own, std::vector<float>& scratch);
void cached_row(const CachedRows& rows, const parallel::Bf16Bits*, std::int64_t row, std::int64_t kv_head,
                std::span<const std::int32_t> seen, std::int32_t own, std::vector<float>& scratch);

}  // namespace osler::model
