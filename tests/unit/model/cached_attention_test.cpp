#include "model/cached_attention.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "base/error.hpp"

namespace osler::model {
namespace {

/// Sequences that go through a cache piece by piece, their slots dealt in an order of no meaning.
class Pieces {
 public:
  Pieces(const AttentionHeads& heads, std::int64_t head_dim, at::ScalarType type, std::vector<std::int64_t> lengths)
      : heads_(heads), cache_(3, heads.num_kv_heads, 64, head_dim, at::TensorOptions(type)), free_(64) {
    std::iota(free_.begin(), free_.end(), 0);
    std::reverse(free_.begin() + 7, free_.end());
    for (const std::int64_t length : lengths) {
      qkv_.push_back(at::randn({length, heads.num_heads + 2 * heads.num_kv_heads, head_dim}, at::kDouble).to(type));
      const AttentionLayout whole{{{0, length, 0, 0}}, length, {}, nullptr};
      wanted_.push_back(attention(qkv_.back().to(at::kDouble), heads, whole));
    }
    slots_.resize(lengths.size());
    done_.resize(lengths.size(), 0);
  }

  /// The next rows[i] rows of each sequence, in one pass. -> the greatest distance to attention over the whole
  double pass(const std::vector<std::int64_t>& rows) {
    AttentionLayout layout;
    layout.cache = &cache_;
    std::vector<at::Tensor> qkv, wanted;
    std::vector<std::size_t> seen;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      trim(i);
      seen.push_back(slots_[i].size());
      for (std::int64_t r = 0; r < rows[i]; ++r) slots_[i].push_back(free_.back()), free_.pop_back();
    }
    for (std::size_t i = 0; i < rows.size(); ++i) {
      if (rows[i] == 0) continue;
      const std::span<const std::int32_t> all = slots_[i];
      layout.segments.push_back({layout.num_rows, rows[i], 0, 0});
      layout.cached.push_back({all.first(seen[i]), all.subspan(seen[i])});
      layout.num_rows += rows[i];
      qkv.push_back(qkv_[i].narrow(0, done_[i], rows[i]));
      wanted.push_back(wanted_[i].narrow(0, done_[i], rows[i]));
      done_[i] += rows[i];
    }
    const at::Tensor got = cached_attention(at::cat(qkv), heads_, layout, 1);
    return (got.to(at::kDouble) - at::cat(wanted)).abs().max().item<double>();
  }

 private:
  /// As a window frees them.
  void trim(std::size_t i) {
    if (!heads_.sliding_window) return;
    while (static_cast<std::int64_t>(slots_[i].size()) > *heads_.sliding_window - 1) {
      free_.push_back(slots_[i].front());
      slots_[i].erase(slots_[i].begin());
    }
  }

  AttentionHeads heads_;
  KeyValueCache cache_;
  std::vector<std::int32_t> free_;
  std::vector<at::Tensor> qkv_, wanted_;
  std::vector<std::vector<std::int32_t>> slots_;
  std::vector<std::int64_t> done_;
};

struct TypeCase {
  at::ScalarType type;
  double tolerance;
};

TEST(CachedAttention, EqualsAttentionOverTheWholeSequence) {
  at::manual_seed(1);
  // fp32: sums of 20 terms; bf16: keys and values are the same rounded ones, the result is rounded to 8 bits.
  for (const auto& [type, tolerance] : {TypeCase{at::kDouble, 1e-12}, {at::kFloat, 2e-6}, {at::kBFloat16, 2e-2}}) {
    for (const std::int64_t kv_heads : {1, 2, 4}) {
      for (const std::int64_t window : {0, 1, 3, 8, 100}) {
        for (const std::int64_t head_dim : {6, 20, 32}) {
          const AttentionHeads heads{4, kv_heads, window > 0 ? std::optional(window) : std::nullopt};
          Pieces pieces(heads, head_dim, type, {20, 16, 9});
          double worst = 0;
          // Prompts; the rest of one beside decoded tokens; a new prompt beside them; decoded tokens of all.
          for (const std::vector<std::int64_t>& rows : std::vector<std::vector<std::int64_t>>{
                   {9, 9, 0}, {1, 1, 0}, {1, 4, 0}, {4, 0, 0}, {1, 1, 5}, {1, 0, 1}, {1, 1, 1}, {1, 0, 2}})
            worst = std::max(worst, pieces.pass(rows));
          EXPECT_LT(worst, tolerance) << type << " kv " << kv_heads << " window " << window << " dim " << head_dim;
        }
      }
    }
  }
}

TEST(CachedAttention, ARowDoesNotDependOnItsNeighbours) {
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const AttentionHeads heads{4, 2, std::nullopt};
    const at::Tensor qkv = at::randn({3, 8, 16}).to(type);
    KeyValueCache cache(1, 2, 40, 16, at::TensorOptions(type));
    cache.keys(0).normal_();
    cache.values(0).normal_();
    std::vector<std::int32_t> slots(33);
    std::iota(slots.begin(), slots.end(), 3);
    const std::span<const std::int32_t> all = slots;
    AttentionLayout layout{
        {{0, 1, 0, 0}, {1, 1, 0, 0}, {2, 1, 0, 0}},
        3,
        {{all.first(30), all.last(1)}, {all.first(7), all.subspan(31, 1)}, {all.first(20), all.subspan(30, 1)}},
        &cache};
    const at::Tensor together = cached_attention(qkv, heads, layout, 0);
    const AttentionLayout alone{{{0, 1, 0, 0}}, 1, {{all.first(7), all.subspan(31, 1)}}, &cache};
    EXPECT_TRUE(at::equal(together[1], cached_attention(qkv.narrow(0, 1, 1), heads, alone, 0)[0]));
  }
}

TEST(CachedAttention, RefusesMoreKeptThanRows) {
  KeyValueCache cache(1, 1, 4, 4, at::TensorOptions(at::kFloat));
  const std::vector<std::int32_t> slots{0, 1, 2};
  const AttentionLayout layout{{{0, 2, 0, 0}}, 2, {{{}, slots}}, &cache};
  EXPECT_THROW(cached_attention(at::randn({2, 3, 4}), {1, 1, std::nullopt}, layout, 0), InternalError);
}

}  // namespace
}  // namespace osler::model
