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
  const ParameterStore store(odd_specs(), options_of(at::kFloat), 3);
  EXPECT_EQ(store["q"].offset, 0);
  EXPECT_EQ(store["k"].offset, 21);
  EXPECT_EQ(store["v"].offset, 35);
  EXPECT_EQ(store["o"].offset, 64);
  EXPECT_EQ(store["norm"].offset, 128);
  EXPECT_EQ(store.decay_end(), 128);
  EXPECT_EQ(store.num_elements(), 192);  // 135, padded to 64 * 3
  EXPECT_EQ(store.num_parameters(), 21 + 14 + 14 + 21 + 7);
}

TEST(ParameterStore, MergedAndStackedShareMemoryWithTheirParts) {
  ParameterStore store(odd_specs(), options_of(at::kDouble));
  store.allocate_grad();
  store.data().copy_(at::arange(store.num_elements(), options_of(at::kDouble)));
  const Parameter qkv = store.merged({"q", "k", "v"});
  EXPECT_EQ(qkv.data.sizes(), (std::vector<std::int64_t>{7, 7}));
  EXPECT_TRUE(at::equal(qkv.data, at::cat({store["q"].data, store["k"].data, store["v"].data})));
  qkv.grad.fill_(2);
  EXPECT_EQ(store["v"].grad.sum().item<double>(), 28);
  EXPECT_EQ(store.grad().sum().item<double>(), 98);  // nothing outside the run was touched
  const Parameter kv = store.stacked({"k", "v"});
  EXPECT_EQ(kv.data.sizes(), (std::vector<std::int64_t>{2, 2, 7}));
  EXPECT_TRUE(at::equal(kv.data[1], store["v"].data));
  store.zero_grad();
  EXPECT_EQ(kv.grad.abs().sum().item<double>(), 0);
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
  EXPECT_THROW(store.stacked({"q", "k"}), InternalError);
  EXPECT_THROW(store["absent"], InternalError);
  auto misordered = odd_specs();
  misordered.front().decay = false;
  EXPECT_THROW(ParameterStore(misordered, options_of(at::kFloat)), InternalError);
}

}  // namespace
}  // namespace osler::parallel
