// Collectives against what each rank can compute alone, knowing what all ranks hold.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "base/error.hpp"
#include "support/ranks_world.hpp"

namespace osler::comm {
namespace {

Group& group() {
  return tests::world().host();
}

/// What rank r holds: values that round differently in every order of summation.
at::Tensor held_by(int r, std::int64_t numel, at::ScalarType type) {
  const at::Tensor index = at::arange(numel, at::kDouble);
  return at::sin(index * 12.9898 + 78.233 * (r + 1)).mul(std::pow(10.0, r)).to(type);
}

/// Sum in rank order, in fp32 for the half types.
at::Tensor expected_sum(std::int64_t numel, at::ScalarType type) {
  const bool half = type == at::kBFloat16 || type == at::kHalf;
  at::Tensor sum = held_by(0, numel, type).to(half ? at::kFloat : type);
  for (int r = 1; r < group().size(); ++r) sum = sum + held_by(r, numel, type);
  return sum.to(type);
}

constexpr std::array kTypes = {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf};
// Fewer elements than ranks, odd, and more than one round of kRoundBytes.
constexpr std::array<std::int64_t, 5> kSizes = {0, 1, 7, 1000, 1'200'001};

TEST(MpiGroup, AllReduceSumsInRankOrderBitForBit) {
  for (const auto type : kTypes) {
    for (const auto size : kSizes) {
      at::Tensor tensor = held_by(group().rank(), size, type);
      group().all_reduce(tensor, ReduceOp::sum);
      EXPECT_TRUE(at::equal(tensor, expected_sum(size, type))) << c10::toString(type) << " " << size;
    }
  }
}

TEST(MpiGroup, ReducesWholeNumbersAndExtremes) {
  const int n = group().size();
  at::Tensor counts = at::full({2, 3}, group().rank() + 1, at::kLong);
  group().all_reduce(counts, ReduceOp::sum);
  EXPECT_TRUE(at::equal(counts, at::full({2, 3}, n * (n + 1) / 2, at::kLong)));
  at::Tensor extremes = at::full({5}, static_cast<double>(group().rank()), at::kFloat);
  at::Tensor lowest = extremes.clone();
  group().all_reduce(extremes, ReduceOp::max);
  group().all_reduce(lowest, ReduceOp::min);
  EXPECT_EQ(extremes[4].item<double>(), n - 1);
  EXPECT_EQ(lowest[4].item<double>(), 0);
}

TEST(MpiGroup, NotANumberOnOneRankReachesAll) {
  const int last = group().size() - 1;
  at::Tensor tensor = at::zeros({3}, at::kFloat);
  if (group().rank() == last) tensor.fill_(std::numeric_limits<float>::quiet_NaN());
  for (const auto op : {ReduceOp::sum, ReduceOp::max, ReduceOp::min}) {
    at::Tensor copy = tensor.clone();
    group().all_reduce(copy, op);
    EXPECT_TRUE(at::isnan(copy).all().item<bool>());
    const double value = group().rank() == last ? std::nan("") : 1.0;
    EXPECT_TRUE(std::isnan(group().all_reduce_value(value, op)));
  }
}

TEST(MpiGroup, ReduceScatterInPlaceAndApart) {
  const int n = group().size();
  for (const auto type : kTypes) {
    for (const std::int64_t part : {1, 5, 300'001}) {
      const at::Tensor want = expected_sum(part * n, type).narrow(0, group().rank() * part, part);
      at::Tensor full = held_by(group().rank(), part * n, type);
      at::Tensor apart = at::empty({part}, full.options());
      group().reduce_scatter(apart, full, ReduceOp::sum);
      EXPECT_TRUE(at::equal(apart, want)) << c10::toString(type) << " " << part;
      at::Tensor in_place = full.narrow(0, group().rank() * part, part);
      group().reduce_scatter(in_place, full, ReduceOp::sum);
      EXPECT_TRUE(at::equal(in_place, want)) << c10::toString(type) << " " << part << " in place";
    }
  }
}

TEST(MpiGroup, AllGatherInPlaceAndApart) {
  const int n = group().size();
  const std::int64_t part = 1001;
  at::Tensor want = at::cat([&] {
    std::vector<at::Tensor> parts;
    for (int r = 0; r < n; ++r) parts.push_back(held_by(r, part, at::kBFloat16));
    return parts;
  }());
  at::Tensor full = at::zeros({n * part}, at::kBFloat16);
  group().all_gather(full, held_by(group().rank(), part, at::kBFloat16));
  EXPECT_TRUE(at::equal(full, want));
  at::Tensor again = at::zeros({n * part}, at::kBFloat16);
  const at::Tensor own = again.narrow(0, group().rank() * part, part);
  own.copy_(held_by(group().rank(), part, at::kBFloat16));
  group().all_gather(again, own);
  EXPECT_TRUE(at::equal(again, want));
}

TEST(MpiGroup, AllToAllMovesUnevenRowsIncludingNone) {
  const int n = group().size();
  const int me = group().rank();
  // Rank s sends (s + 2 r) % 3 rows to rank r; each row says from whom, to whom and which.
  const auto rows = [](int s, int r) { return static_cast<std::int64_t>((s + 2 * r) % 3); };
  std::vector<std::int64_t> send_rows, recv_rows;
  std::vector<at::Tensor> sent{at::empty({0, 3}, at::kDouble)}, want{at::empty({0, 3}, at::kDouble)};
  for (int r = 0; r < n; ++r) {
    send_rows.push_back(rows(me, r));
    recv_rows.push_back(rows(r, me));
    for (int i = 0; i < rows(me, r); ++i) sent.push_back(at::tensor({me, r, i}, at::kDouble).view({1, 3}));
    for (int i = 0; i < rows(r, me); ++i) want.push_back(at::tensor({r, me, i}, at::kDouble).view({1, 3}));
  }
  const at::Tensor expected = at::cat(want);
  at::Tensor received = at::zeros_like(expected);
  group().all_to_all(received, recv_rows, at::cat(sent), send_rows);
  EXPECT_TRUE(at::equal(received, expected));
}

TEST(MpiGroup, BroadcastsTensorsAndBytesFromEveryRoot) {
  for (int root = 0; root < group().size(); ++root) {
    at::Tensor tensor = held_by(group().rank(), 9, at::kFloat);
    group().broadcast(tensor, root);
    EXPECT_TRUE(at::equal(tensor, held_by(root, 9, at::kFloat)));
    const std::string mine(static_cast<std::size_t>(group().rank()) * 3, static_cast<char>('a' + group().rank()));
    EXPECT_EQ(group().broadcast_bytes(mine, root),
              std::string(static_cast<std::size_t>(root) * 3, static_cast<char>('a' + root)));
    EXPECT_EQ(group().all_gather_bytes(mine)[static_cast<std::size_t>(root)],
              std::string(static_cast<std::size_t>(root) * 3, static_cast<char>('a' + root)));
  }
}

TEST(MpiGroup, SplitsByColorOrderedByKey) {
  const int me = group().rank();
  const auto part = group().split(me % 2, -me);  // even and odd ranks, in reverse
  const int expected_size = (group().size() + (me % 2 == 0 ? 1 : 0)) / 2;
  EXPECT_EQ(part->size(), expected_size);
  EXPECT_EQ(part->rank(), expected_size - 1 - me / 2);
  at::Tensor one = at::ones({1}, at::kFloat);
  part->all_reduce(one, ReduceOp::sum);
  EXPECT_EQ(one.item<float>(), static_cast<float>(expected_size));
}

TEST(Agree, LowestFailingRankSpeaksForAll) {
  const int n = group().size();
  EXPECT_NO_THROW(agree_after(group(), [] {}));
  for (int lowest = 0; lowest < n; ++lowest) {
    const std::string expected =
        text_of("rank ", lowest, " cannot read", lowest == 0 ? "" : text_of(" (rank ", lowest, " of ", n, ")"));
    try {
      // Nested: the group's own agreement passes an outer one unchanged.
      agree_after(group(), [&] {
        agree_after(group(), [&] {
          if (group().rank() == lowest) throw CheckpointError("rank ", lowest, " cannot read");
          if (group().rank() > lowest) throw StorageError("disk full");
        });
      });
      FAIL() << "no error";
    } catch (const CheckpointError& error) {
      EXPECT_EQ(error.what(), expected);
      EXPECT_TRUE(is_agreed(error));
    }
  }
}

TEST(World, KnowsItsNode) {
  EXPECT_EQ(tests::world().local_size(), group().size());
  EXPECT_EQ(tests::world().local_rank(), group().rank());
  EXPECT_EQ(tests::world().ranks().size(), group().size());
  EXPECT_FALSE(World::mpi_version().empty());
}

}  // namespace
}  // namespace osler::comm
