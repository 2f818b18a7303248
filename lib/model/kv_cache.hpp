// Keys and values of tokens that later tokens will see, of all layers: a pool of slots, one token a slot. Who holds
// which slot is the caller's book-keeping (generate/slot_pool.hpp): sequences share the slots of a common prefix, and
// with a sliding window a slot is free again as soon as its token has left the window, so that the slots of a sequence
// are a ring. Memory: 2 * num_layers * num_kv_heads * head_dim elements of the model dtype a slot.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

namespace osler::model {

class KeyValueCache {
 public:
  /// Uninitialised; options as the model's parameters.
  KeyValueCache(std::int64_t num_layers, std::int64_t num_kv_heads, std::int64_t num_slots, std::int64_t head_dim,
                const at::TensorOptions& options);

  std::int64_t num_slots() const { return data_.size(3); }
  at::Tensor keys(std::int64_t layer) const;    ///< [C, S, H]
  at::Tensor values(std::int64_t layer) const;  ///< [C, S, H]

 private:
  at::Tensor data_;  ///< [num_layers, 2, C, S, H]: what one sequence reads of one head lies together
};

/// What a segment has in the cache. Both lists outlive the forward pass.
struct CachedSegment {
  /// Slots of the tokens before the segment's first, in order of position and without gaps up to it. Those that a
  /// sliding window hides from the whole segment may be left out.
  std::span<const std::int32_t> seen;
  /// Slots that take the keys and values of the segment's last rows, in order.
  std::span<const std::int32_t> kept;
};

}  // namespace osler::model
