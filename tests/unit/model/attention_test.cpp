#include "model/attention.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>

#include "base/error.hpp"

namespace osler::model {
namespace {

struct LayoutCase {
  const char* name;
  std::vector<Segment> segments;
};
const LayoutCase kLayouts[] = {
    {"one", {{0, 9, 0, 0}}},
    {"equal", {{0, 6, 0, 0}, {6, 6, 0, 0}}},
    {"packed", {{0, 5, 0, 0}, {5, 1, 0, 0}, {6, 7, 0, 0}}},
    {"shared prefix", {{0, 7, 0, 0}, {7, 3, 0, 7}, {10, 4, 0, 7}}},
    {"prefixes of two items", {{0, 4, 0, 0}, {4, 2, 0, 4}, {6, 5, 0, 0}, {11, 3, 6, 5}}},
};

/// Row by row, from the definition.
at::Tensor by_definition(const at::Tensor& qkv, const AttentionHeads& heads, const AttentionLayout& layout) {
  const std::int64_t group = heads.num_heads / heads.num_kv_heads, head_dim = qkv.size(2);
  std::vector<at::Tensor> rows;
  for (const auto& segment : layout.segments) {
    for (std::int64_t i = 0; i < segment.length; ++i) {
      std::vector<std::int64_t> seen;
      for (std::int64_t p = 0; p < segment.prefix_length; ++p) seen.push_back(segment.prefix_begin + p);
      for (std::int64_t j = 0; j <= i; ++j) seen.push_back(segment.begin + j);
      const auto window = static_cast<std::size_t>(heads.sliding_window.value_or(1 << 20));
      if (seen.size() > window) seen.erase(seen.begin(), seen.end() - static_cast<std::ptrdiff_t>(window));
      const at::Tensor keys = qkv.index_select(0, at::tensor(seen, at::kLong));
      for (std::int64_t n = 0; n < heads.num_heads; ++n) {
        const std::int64_t k = heads.num_heads + n / group, v = k + heads.num_kv_heads;
        const at::Tensor scores =
            keys.select(1, k).mv(qkv[segment.begin + i][n]) / std::sqrt(static_cast<double>(head_dim));
        rows.push_back(keys.select(1, v).t().mv(at::softmax(scores, 0)));
      }
    }
  }
  return at::stack(rows).view({qkv.size(0), heads.num_heads * head_dim});
}

TEST(Attention, EqualsItsDefinitionForEveryLayoutWindowAndGrouping) {
  at::manual_seed(1);
  for (const auto& [name, segments] : kLayouts) {
    AttentionLayout layout{segments, segments.back().begin + segments.back().length};
    for (const std::int64_t kv_heads : {1, 2, 4}) {
      for (const std::int64_t window : {0, 1, 3, 8, 100}) {
        const AttentionHeads heads{4, kv_heads, window > 0 ? std::optional(window) : std::nullopt};
        const at::Tensor qkv = at::randn({layout.num_rows, 4 + 2 * kv_heads, 6}, at::kDouble).requires_grad_(true);
        const at::Tensor out = attention(qkv, heads, layout), want = by_definition(qkv, heads, layout);
        const at::Tensor dout = at::randn_like(want);
        EXPECT_TRUE(at::allclose(out, want, 0, 1e-12)) << name << " kv " << kv_heads << " window " << window;
        const auto got_grad = torch::autograd::grad({out}, {qkv}, {dout}),
                   want_grad = torch::autograd::grad({want}, {qkv}, {dout});
        EXPECT_TRUE(at::allclose(got_grad[0], want_grad[0], 0, 1e-12))
            << name << " kv " << kv_heads << " window " << window;
      }
    }
  }
}

TEST(Attention, RefusesLayoutsThatDoNotCoverTheRows) {
  const at::Tensor qkv = at::randn({6, 3, 4});
  const AttentionHeads heads{1, 1, std::nullopt};
  EXPECT_THROW(attention(qkv, heads, {{{0, 5, 0, 0}}, 6}), InternalError);                // a row left over
  EXPECT_THROW(attention(qkv, heads, {{{0, 2, 0, 0}, {3, 3, 0, 0}}, 6}), InternalError);  // a gap
  EXPECT_THROW(attention(qkv, heads, {{{0, 3, 0, 0}, {3, 3, 2, 2}}, 6}), InternalError);  // a prefix inside its segment
  EXPECT_EQ(attention(at::randn({0, 3, 4}), heads, {}).size(0), 0);
}

}  // namespace
}  // namespace osler::model
