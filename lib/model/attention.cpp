#include "model/attention.hpp"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/error.hpp"

namespace osler::model {
namespace {

/// [batch, L, C, H] views of the rows of one segment, or of several of equal length.
struct Heads {
  at::Tensor q, k, v;
};

bool window_cuts(const AttentionHeads& heads, std::int64_t num_keys) {
  return heads.sliding_window && *heads.sliding_window < num_keys;
}

/// bool [num_queries, num_keys]: the queries are the last of the keys' positions.
at::Tensor visibility(const AttentionHeads& heads, std::int64_t num_queries, std::int64_t num_keys,
                      c10::Device device) {
  const auto options = at::TensorOptions().dtype(at::kLong).device(device);
  const at::Tensor query = at::arange(num_keys - num_queries, num_keys, options).unsqueeze(1);
  const at::Tensor distance = query - at::arange(num_keys, options).unsqueeze(0);
  at::Tensor visible = distance.ge(0);
  if (window_cuts(heads, num_keys)) visible = visible.logical_and(distance.lt(*heads.sliding_window));
  return visible;
}

bool is_uniform(const AttentionLayout& layout) {
  return std::all_of(layout.segments.begin(), layout.segments.end(), [&](const Segment& segment) {
    return segment.prefix_length == 0 && segment.length == layout.segments.front().length;
  });
}

at::Tensor attend_each(const Heads& all, const AttentionHeads& heads, const AttentionLayout& layout) {
  std::vector<std::int64_t> lengths;
  for (const auto& segment : layout.segments) lengths.push_back(segment.length);
  // Splitting once rather than slicing per segment: its backward is one concatenation.
  const auto q = all.q.split_with_sizes(lengths, 1), k = all.k.split_with_sizes(lengths, 1),
             v = all.v.split_with_sizes(lengths, 1);
  std::vector<at::Tensor> out;
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    const Segment& segment = layout.segments[i];
    if (segment.length == 0) continue;
    Heads part{q[i], k[i], v[i]};
    if (segment.prefix_length > 0) {
      part.k = at::cat({all.k.narrow(1, segment.prefix_begin, segment.prefix_length), part.k}, 1);
      part.v = at::cat({all.v.narrow(1, segment.prefix_begin, segment.prefix_length), part.v}, 1);
    }
    out.push_back(attend_last(part.q, part.k, part.v, heads));
  }
  return at::cat(out, 1);
}

void check(const AttentionLayout& layout, std::int64_t num_rows) {
  OSLER_CHECK(layout.num_rows == num_rows, "layout of ", layout.num_rows, " rows for ", num_rows);
  std::int64_t end = 0;
  for (const auto& segment : layout.segments) {
    OSLER_CHECK(segment.begin == end && segment.length >= 0, "segment at row ", segment.begin, ", expected ", end);
    OSLER_CHECK(segment.prefix_begin + segment.prefix_length <= segment.begin, "prefix does not precede its segment");
    end += segment.length;
  }
  OSLER_CHECK(end == num_rows, "segments end at row ", end, " of ", num_rows);
}

}  // namespace

// LibTorch picks flash attention on the CPU and on CUDA where there is no mask. A variable-length kernel over all
// segments at once would replace attend_each.
at::Tensor attend_last(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const AttentionHeads& heads) {
  const std::int64_t num_queries = q.size(1), num_keys = k.size(1);
  const bool needs_mask = num_queries != num_keys || window_cuts(heads, num_keys);
  std::optional<at::Tensor> mask;
  if (needs_mask) mask = visibility(heads, num_queries, num_keys, q.device());
  return at::scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), mask, 0.0,
                                          /*is_causal=*/!needs_mask, std::nullopt,
                                          /*enable_gqa=*/heads.num_heads != heads.num_kv_heads)
      .transpose(1, 2);
}

at::Tensor attention(const at::Tensor& qkv, const AttentionHeads& heads, const AttentionLayout& layout) {
  const std::int64_t num_rows = qkv.size(0), head_dim = qkv.size(2);
  check(layout, num_rows);
  const std::int64_t out_width = heads.num_heads * head_dim;
  if (num_rows == 0) return qkv.narrow(1, 0, heads.num_heads).reshape({0, out_width});
  const bool uniform = is_uniform(layout);
  const auto batch = uniform ? static_cast<std::int64_t>(layout.segments.size()) : 1;
  const auto parts = qkv.view({batch, num_rows / batch, qkv.size(1), head_dim})
                         .split_with_sizes({heads.num_heads, heads.num_kv_heads, heads.num_kv_heads}, 2);
  const Heads all{parts[0], parts[1], parts[2]};
  const at::Tensor out = uniform ? attend_last(all.q, all.k, all.v, heads) : attend_each(all, heads, layout);
  return out.reshape({num_rows, out_width});
}

}  // namespace osler::model
