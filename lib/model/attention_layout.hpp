// Which tokens may see which: the flattened batch [R] as segments. A segment is a document (or an item's context, or
// one option after a shared context). Attention is causal inside a segment and never crosses into another, except that
// a segment may also see all of one earlier segment, its prefix (scoring: options share the context's keys and values),
// or tokens of earlier passes whose keys and values are in a cache (generation).
#pragma once

#include <cstdint>
#include <vector>

#include "model/kv_cache.hpp"

namespace osler::model {

struct Segment {
  std::int64_t begin = 0;          ///< first row of the flattened batch
  std::int64_t length = 0;         ///< rows
  std::int64_t prefix_begin = 0;   ///< rows [prefix_begin, prefix_begin + prefix_length) are visible too
  std::int64_t prefix_length = 0;  ///< 0: none
};

/// Segments in row order, covering rows [0, num_rows) without gaps.
struct AttentionLayout {
  std::vector<Segment> segments;
  std::int64_t num_rows = 0;
  /// Generation: what each of the first segments sees in the cache and leaves there (model/kv_cache.hpp). Segments past
  /// the end of this list have nothing to do with the cache; those in it have no prefix. Without gradients only.
  std::vector<CachedSegment> cached;
  KeyValueCache* cache = nullptr;
};

}  // namespace osler::model
