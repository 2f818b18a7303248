#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "base/error.hpp"
#include "comm/cores.hpp"
#include "comm/group.hpp"
#include "comm/torch_dtype.hpp"

namespace osler::comm {
namespace {

TEST(Cores, RanksOnTheSameCoresShareThemAndBoundRanksKeepTheirs) {
  struct Case {
    std::vector<std::string> masks;
    std::size_t index;
    int threads;
  };
  for (const auto& c : std::vector<Case>{{{"1111"}, 0, 4},
                                         {{"1111", "1111"}, 1, 2},
                                         {{"11", "0011"}, 0, 2},  // bound apart
                                         {{"11", "0011"}, 1, 2},
                                         {{"11", "11", "11"}, 2, 1},  // more ranks than cores
                                         {{"11111111", "11111111", "11111111"}, 0, 2}}) {
    EXPECT_EQ(fair_share_of_cores(c.masks, c.index), c.threads) << c.masks.front() << " x " << c.masks.size();
  }
  EXPECT_NE(core_mask().find('1'), std::string::npos);
}

TEST(TorchDtype, MapsBothWays) {
  for (const auto type : {DType::bf16, DType::fp16, DType::fp32, DType::fp64, DType::u8, DType::u16, DType::u32,
                          DType::u64, DType::i64}) {
    EXPECT_EQ(dtype_of(scalar_type_of(type)), type);
    EXPECT_EQ(c10::elementSize(scalar_type_of(type)), size_bytes(type));
  }
  EXPECT_THROW(dtype_of(c10::ScalarType::ComplexFloat), InternalError);
}

TEST(SelfGroup, CopiesOrDoesNothing) {
  const auto group = make_self_group();
  const at::Tensor values = at::arange(6, at::kDouble).view({3, 2});
  at::Tensor full = at::zeros({3, 2}, at::kDouble);
  group->all_gather(full, values);
  EXPECT_TRUE(at::equal(full, values));
  at::Tensor received = at::zeros({3, 2}, at::kDouble);
  group->all_to_all(received, {3}, values, {3});
  EXPECT_TRUE(at::equal(received, values));
  at::Tensor wrong = at::zeros({5}, at::kDouble);
  EXPECT_THROW(group->all_gather(wrong, values), InternalError);
  EXPECT_EQ(group->all_gather_bytes("x"), std::vector<std::string>{"x"});
  EXPECT_EQ(group->split(3, 1)->size(), 1);
}

TEST(Agree, KeepsTypeCodeAndMessage) {
  const auto group = make_self_group();
  EXPECT_NO_THROW(agree(*group, nullptr));
  try {
    agree_after(*group, [] { throw DataError("file.jsonl:3: bad UTF-8"); });
    FAIL() << "no error";
  } catch (const DataError& error) {
    EXPECT_STREQ(error.what(), "file.jsonl:3: bad UTF-8");
    EXPECT_TRUE(is_agreed(error));
  }
  EXPECT_FALSE(is_agreed(DataError("local")));
  try {
    agree_after(*group, [] { throw std::out_of_range("vector"); });
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::internal);
  }
}

}  // namespace
}  // namespace osler::comm
