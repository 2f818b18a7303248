// The attention core: who sees whom, and nothing else. Queries, keys and values come in rotated; AttentionLayout says
// which rows form a segment. Every call of a device's attention kernel in the model is in attention.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "model/attention_layout.hpp"

namespace osler::model {

struct AttentionHeads {
  std::int64_t num_heads = 0;
  std::int64_t num_kv_heads = 0;
  std::optional<std::int64_t>
      sliding_window;  ///< a query sees keys at distance < window; prefix and own rows counted alike
};

/// qkv [R, num_heads + 2 num_kv_heads, H] in model dtype -> [R, num_heads * H]. softmax(q k^T / sqrt(H)) v, causal
/// inside a segment, over its prefix as well. Differentiable.
at::Tensor attention(const at::Tensor& qkv, const AttentionHeads& heads, const AttentionLayout& layout);

/// The seam to the device's kernels: q [B, L, num_heads, H] over k, v [B, K, num_kv_heads, H], K >= L: the queries are
/// the last L of the keys' positions, causal, within the window. -> [B, L, num_heads, H]
at::Tensor attend_last(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const AttentionHeads& heads);

}  // namespace osler::model
