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

}  // namespace osler::model
