// Attention of segments whose earlier tokens are in a cache (model/kv_cache.hpp). Tokens that are decoded one by one,
// segments of one row, go through one kernel (host) or one batched call (other devices) for all sequences at once;
// prompts go through attention.hpp.
#pragma once

#include "model/attention.hpp"

namespace osler::model {

/// As attention(), for a layout with `cached`: rows see their segment and what its `seen` lists, and the keys and
/// values of the last rows go where `kept` says, in `layer` of layout.cache. Not differentiable.
at::Tensor cached_attention(const at::Tensor& qkv, const AttentionHeads& heads, const AttentionLayout& layout,
                            std::int64_t layer);

}  // namespace osler::model
