#include "model/cached_attention.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.hpp"
#include "model/cached_rows.hpp"

namespace osler::model {
namespace {

at::Tensor index_tensor(const std::vector<std::int64_t>& values, c10::Device device) {
  return at::tensor(values, at::kLong).to(device, /*non_blocking=*/true);
}

std::span<const std::int32_t> in_window(const AttentionHeads& heads, std::span<const std::int32_t> seen) {
  if (!heads.sliding_window) return seen;
  return seen.last(std::min(seen.size(), static_cast<std::size_t>(*heads.sliding_window - 1)));
}

/// One pass over one layer: qkv and this layer's part of the cache.
class CachedPass {
 public:
  CachedPass(const at::Tensor& qkv, const AttentionHeads& heads, const AttentionLayout& layout, std::int64_t layer)
      : qkv_(qkv),
        heads_(heads),
        layout_(layout),
        keys_(layout.cache->keys(layer)),
        values_(layout.cache->values(layer)) {
    OSLER_CHECK(layout.cached.size() <= layout.segments.size(), "more cached segments than segments");
    while (num_decoded_ < layout.cached.size() && is_decoded(num_decoded_)) ++num_decoded_;
  }

  void keep() const;
  at::Tensor attend() const;

 private:
  /// One token after others: the kernel's case.
  bool is_decoded(std::size_t i) const {
    return layout_.segments[i].length == 1 && !layout_.cached[i].seen.empty() && layout_.cached[i].kept.size() == 1;
  }
  void decode_on_host(at::Tensor out) const;
  at::Tensor decode_anywhere() const;
  at::Tensor read(const at::Tensor& pool, std::span<const std::int32_t> slots) const;
  at::Tensor prefill(std::size_t segment) const;
  at::Tensor without_cache(std::size_t begin, std::size_t end) const;

  const at::Tensor& qkv_;
  const AttentionHeads& heads_;
  const AttentionLayout& layout_;
  at::Tensor keys_, values_;
  std::size_t num_decoded_ = 0;  ///< the first segments, if they are of that kind
};

/// Copies keys and values of the rows to be kept into their slots.
void CachedPass::keep() const {
  std::vector<std::int64_t> rows, slots;
  for (std::size_t i = 0; i < layout_.cached.size(); ++i) {
    const Segment& segment = layout_.segments[i];
    const auto& kept = layout_.cached[i].kept;
    std::int64_t row = segment.begin + segment.length - static_cast<std::int64_t>(kept.size());
    OSLER_CHECK(row >= segment.begin, "a segment of ", segment.length, " rows keeps ", kept.size());
    for (const std::int32_t slot : kept) rows.push_back(row++), slots.push_back(slot);
  }
  const std::int64_t heads = heads_.num_kv_heads, width = qkv_.size(2);
  if (!qkv_.device().is_cpu()) {
    const at::Tensor from = index_tensor(rows, qkv_.device()), to = index_tensor(slots, qkv_.device());
    const at::Tensor kept = qkv_.narrow(1, heads_.num_heads, 2 * heads).index_select(0, from).transpose(0, 1);
    at::Tensor keys = keys_, values = values_;
    keys.index_copy_(1, to, kept.narrow(0, 0, heads));
    values.index_copy_(1, to, kept.narrow(0, heads, heads));
    return;
  }
  const std::size_t row_bytes = static_cast<std::size_t>(width) * qkv_.element_size();
  const auto* from = static_cast<const std::byte*>(qkv_.const_data_ptr());
  auto* keys = static_cast<std::byte*>(keys_.data_ptr());
  auto* values = static_cast<std::byte*>(values_.data_ptr());
  const auto num_slots = static_cast<std::size_t>(keys_.size(1)), parts = static_cast<std::size_t>(qkv_.size(1));
  at::parallel_for(0, static_cast<std::int64_t>(rows.size()), 64, [&](std::int64_t begin, std::int64_t end) {
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
      const std::byte* key =
          from + (static_cast<std::size_t>(rows[i]) * parts + static_cast<std::size_t>(heads_.num_heads)) * row_bytes;
      for (std::size_t c = 0; c < static_cast<std::size_t>(heads); ++c) {
        const std::size_t place = (c * num_slots + static_cast<std::size_t>(slots[i])) * row_bytes;
        std::memcpy(keys + place, key + c * row_bytes, row_bytes);
        std::memcpy(values + place, key + (static_cast<std::size_t>(heads) + c) * row_bytes, row_bytes);
      }
    }
  });
}

void CachedPass::decode_on_host(at::Tensor out) const {
  const std::int64_t width = qkv_.size(2), heads = heads_.num_kv_heads;
  const CachedRows rows{qkv_.const_data_ptr(),
                        keys_.const_data_ptr(),
                        values_.const_data_ptr(),
                        out.data_ptr(),
                        qkv_.stride(0),
                        keys_.size(1),
                        heads_.num_heads,
                        heads,
                        width,
                        static_cast<float>(1.0 / std::sqrt(static_cast<double>(width)))};
  parallel::with_row_type(qkv_, [&]<class T>(T*) {
    at::parallel_for(0, static_cast<std::int64_t>(num_decoded_) * heads, 1, [&](std::int64_t begin, std::int64_t end) {
      std::vector<float> scratch;
      for (std::int64_t task = begin; task < end; ++task) {
        const CachedSegment& cached = layout_.cached[static_cast<std::size_t>(task / heads)];
        cached_row(rows, static_cast<const T*>(nullptr), task / heads, task % heads, in_window(heads_, cached.seen),
                   cached.kept[0], scratch);
      }
    });
  });
}

/// One batched call over all decoded rows, their keys padded to the longest. -> [num_decoded, num_heads * H]
at::Tensor CachedPass::decode_anywhere() const {
  std::size_t longest = 0;
  for (std::size_t i = 0; i < num_decoded_; ++i)
    longest = std::max(longest, in_window(heads_, layout_.cached[i].seen).size() + 1);
  const auto batch = static_cast<std::int64_t>(num_decoded_), num_keys = static_cast<std::int64_t>(longest);
  std::vector<std::int64_t> slots(num_decoded_ * longest, 0), hidden(num_decoded_ * longest, 1);
  for (std::size_t i = 0; i < num_decoded_; ++i) {
    const auto seen = in_window(heads_, layout_.cached[i].seen);
    const auto begin = static_cast<std::ptrdiff_t>(i * longest);
    std::copy(seen.begin(), seen.end(), slots.begin() + begin);
    slots[i * longest + seen.size()] = layout_.cached[i].kept[0];
    std::fill_n(hidden.begin() + begin, seen.size() + 1, 0);
  }
  const at::Tensor index = index_tensor(slots, qkv_.device());
  const at::Tensor visible = index_tensor(hidden, qkv_.device()).eq(0).view({batch, 1, 1, num_keys});
  const auto gathered = [&](const at::Tensor& pool) {  // [batch, C, num_keys, H]
    return pool.index_select(1, index).view({pool.size(0), batch, num_keys, pool.size(2)}).transpose(0, 1);
  };
  const at::Tensor q = qkv_.narrow(0, 0, batch).narrow(1, 0, heads_.num_heads).unsqueeze(2);
  return at::scaled_dot_product_attention(q, gathered(keys_), gathered(values_), visible, 0.0, false, std::nullopt,
                                          heads_.num_heads != heads_.num_kv_heads)
      .reshape({batch, -1});
}

/// [1, slots, C, H]
at::Tensor CachedPass::read(const at::Tensor& pool, std::span<const std::int32_t> slots) const {
  const std::vector<std::int64_t> wide(slots.begin(), slots.end());
  return pool.index_select(1, index_tensor(wide, pool.device())).transpose(0, 1).unsqueeze(0);
}

/// A prompt, or the rest of one whose first tokens are in the cache. -> [length, num_heads * H]
at::Tensor CachedPass::prefill(std::size_t i) const {
  const Segment& segment = layout_.segments[i];
  const auto parts = qkv_.narrow(0, segment.begin, segment.length)
                         .unsqueeze(0)
                         .split_with_sizes({heads_.num_heads, heads_.num_kv_heads, heads_.num_kv_heads}, 2);
  const auto seen = in_window(heads_, layout_.cached[i].seen);
  const at::Tensor k = at::cat({read(keys_, seen), parts[1]}, 1), v = at::cat({read(values_, seen), parts[2]}, 1);
  return attend_last(parts[0], k, v, heads_).reshape({segment.length, -1});
}

/// Segments [begin, end), which see nothing of the cache.
at::Tensor CachedPass::without_cache(std::size_t begin, std::size_t end) const {
  AttentionLayout part;
  const std::int64_t first = layout_.segments[begin].begin;
  for (std::size_t i = begin; i < end; ++i) {
    Segment segment = layout_.segments[i];
    segment.begin -= first;
    part.segments.push_back(segment);
    part.num_rows += segment.length;
  }
  return attention(qkv_.narrow(0, first, part.num_rows), heads_, part);
}

at::Tensor CachedPass::attend() const {
  at::Tensor out = at::empty({qkv_.size(0), heads_.num_heads * qkv_.size(2)}, qkv_.options());
  if (num_decoded_ > 0 && parallel::has_host_rows(qkv_)) {
    decode_on_host(out);
  } else if (num_decoded_ > 0) {
    out.narrow(0, 0, static_cast<std::int64_t>(num_decoded_)).copy_(decode_anywhere());
  }
  const auto sees_cache = [&](std::size_t i) { return i < layout_.cached.size() && !layout_.cached[i].seen.empty(); };
  for (std::size_t i = num_decoded_; i < layout_.segments.size();) {
    std::size_t end = i + 1;
    while (!sees_cache(i) && end < layout_.segments.size() && !sees_cache(end)) ++end;
    const at::Tensor rows = sees_cache(i) ? prefill(i) : without_cache(i, end);
    if (rows.size(0) == qkv_.size(0)) return rows;
    out.narrow(0, layout_.segments[i].begin, rows.size(0)).copy_(rows);
    i = end;
  }
  return out;
}

}  // namespace

at::Tensor cached_attention(const at::Tensor& qkv, const AttentionHeads& heads, const AttentionLayout& layout,
                            std::int64_t layer) {
  if (qkv.size(0) == 0) return qkv.narrow(1, 0, heads.num_heads).reshape({0, heads.num_heads * qkv.size(2)});
  OSLER_CHECK(layout.num_rows == qkv.size(0), "layout of ", layout.num_rows, " rows for ", qkv.size(0));
  const CachedPass pass(qkv, heads, layout, layer);
  pass.keep();
  return pass.attend();
}

}  // namespace osler::model
