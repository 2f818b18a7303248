#include "parallel/parameter.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "base/error.hpp"

namespace osler::parallel {
namespace {

std::vector<plan::ParameterSpec> odd_specs() {
  // Sizes that are not multiples of the alignment: a run of three that must be mergeable, a lone one, a norm.
  return {{.name = "q", .shape = {3, 7}, .decay = true, .joins_previous = false},
          {.name = "k", .shape = {2, 7}, .decay = true, .joins_previous = true},
          {.name = "v", .shape = {2, 7}, .decay = true, .joins_previous = true},
          {.name = "o", .shape = {7, 3}, .decay = true, .joins_previous = false},
          {.name = "norm", .shape = {7}, .decay = false, .joins_previous = false}};
}

at::TensorOptions options_of(at::ScalarType type) {
  return at::TensorOptions().dtype(type);
}

TEST(ParameterStore, AlignsRunsAndKeepsTheirMembersTogether) {
  const ParameterStore store(odd_specs(), options_of(at::kFloat), {.dense = 3});
  EXPECT_EQ(store["q"].offset, 0);
  EXPECT_EQ(store["k"].offset, 21);
  EXPECT_EQ(store["v"].offset, 35);
  EXPECT_EQ(store["o"].offset, 64);
  EXPECT_EQ(store["norm"].offset, 192);  // 85 elements before it, padded to 64 * 3
  EXPECT_EQ(store.num_elements(), 384);
}

TEST(ParameterStore, MergedSharesMemoryWithItsParts) {
  ParameterStore store(odd_specs(), options_of(at::kDouble));
  store.allocate_grad();
  store.data().copy_(at::arange(store.num_elements(), options_of(at::kDouble)));
  const Parameter qkv = store.merged({"q", "k", "v"});
  EXPECT_EQ(qkv.data.sizes(), (std::vector<std::int64_t>{7, 7}));
  EXPECT_TRUE(at::equal(qkv.data, at::cat({store["q"].data, store["k"].data, store["v"].data})));
  qkv.grad.fill_(2);
  EXPECT_EQ(store["v"].grad.sum().item<double>(), 28);
  EXPECT_EQ(store.grad().sum().item<double>(), 98);  // nothing outside the run was touched
  store.zero_grad();
  EXPECT_EQ(qkv.grad.abs().sum().item<double>(), 0);
}

TEST(ParameterStore, AccumulatesInFp32OrFp64) {
  for (const auto& [model, accumulation] :
       {std::pair{at::kBFloat16, at::kFloat}, std::pair{at::kFloat, at::kFloat}, std::pair{at::kDouble, at::kDouble}}) {
    ParameterStore store(odd_specs(), options_of(model));
    EXPECT_FALSE(store["q"].grad.defined());
    store.allocate_grad();
    EXPECT_EQ(store["q"].data.scalar_type(), model);
    EXPECT_EQ(store["q"].grad.scalar_type(), accumulation);
  }
}

TEST(ParameterStore, RefusesWhatIsNotSideBySide) {
  const ParameterStore store(odd_specs(), options_of(at::kFloat));
  EXPECT_THROW(store.merged({"q", "v"}), InternalError);
  EXPECT_THROW(store.merged({"v", "o"}), InternalError);
  EXPECT_THROW(store["absent"], InternalError);
  auto split = odd_specs();
  split[1].layer = 1;  // "k" joins "q", but belongs to another bucket
  EXPECT_THROW(ParameterStore(split, options_of(at::kFloat)), InternalError);
}

TEST(ParameterStore, BucketsTileTheBuffersByLayerKindAndDecay) {
  std::vector<plan::ParameterSpec> specs;
  specs.push_back({.name = "embedding", .shape = {10, 7}});
  for (std::int64_t layer = 0; layer < 2; ++layer) {
    const std::string of = std::to_string(layer);
    specs.push_back({.name = "q" + of, .shape = {5, 7}, .layer = layer});
    specs.push_back({.name = "gate" + of, .shape = {4, 7}, .layer = layer});
    specs.push_back({.name = "w1" + of, .shape = {9, 7}, .layer = layer, .expert = 0});
  }
  specs.push_back({.name = "head", .shape = {10, 7}});
  specs.push_back({.name = "norm", .shape = {7}, .decay = false});
  const ParameterStore store(specs, options_of(at::kFloat), {.dense = 4, .experts = 2});
  const auto& buckets = store.buckets();
  ASSERT_EQ(buckets.size(), 7u);
  std::int64_t end = 0;
  for (const plan::Bucket& bucket : buckets) {
    EXPECT_EQ(bucket.begin, end);
    EXPECT_EQ(bucket.size % (plan::kAlignment * (bucket.is_expert ? 2 : 4)), 0);
    end += bucket.size;
  }
  EXPECT_EQ(end, store.num_elements());
  EXPECT_EQ(buckets[0].layer, -1);
  EXPECT_EQ(buckets[2].layer, 0);
  EXPECT_TRUE(buckets[2].is_expert);
  EXPECT_EQ(buckets[3].layer, 1);
  EXPECT_FALSE(buckets[3].is_expert);
  EXPECT_TRUE(buckets[5].decay);
  EXPECT_FALSE(buckets[6].decay);
}

}  // namespace
}  // namespace osler::parallel
