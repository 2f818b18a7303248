// Collectives that run beside the caller: the same bits as those it waits for, errors that reach wait(), clean ends.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <thread>

#include "base/text_of.hpp"
#include "base/trace.hpp"
#include "comm/progress_thread.hpp"
#include "support/ranks_world.hpp"
#include "support/temporary_folder.hpp"

namespace osler::comm {
namespace {

Group& group() {
  return tests::world().host();
}

at::Tensor held(std::int64_t numel, at::ScalarType type, int salt) {
  const at::Tensor index = at::arange(numel, at::kDouble);
  return at::sin(index * 12.9898 + 78.233 * (group().rank() + 1) + salt).mul(std::pow(10.0, group().rank())).to(type);
}

at::Tensor own_part(const at::Tensor& full) {
  const std::int64_t part = full.numel() / group().size();
  return full.narrow(0, group().rank() * part, part);
}

TEST(StartedReduceScatter, EqualsTheBlockingOneBitForBitInPlaceAndApart) {
  for (const auto type : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf}) {
    for (const std::int64_t part : {0, 1, 5, 16'384, 16'385, 700'001}) {
      at::Tensor full = held(part * group().size(), type, 0);
      at::Tensor want = at::empty({part}, full.options());
      group().reduce_scatter(want, full, ReduceOp::sum);
      at::Tensor apart = at::empty({part}, full.options());
      group().start_reduce_scatter(apart, full, ReduceOp::sum)->wait();
      EXPECT_TRUE(at::equal(apart, want)) << c10::toString(type) << " " << part;
      at::Tensor in_place = own_part(full);
      group().start_reduce_scatter(in_place, full, ReduceOp::sum)->wait();
      EXPECT_TRUE(at::equal(in_place, want)) << c10::toString(type) << " " << part << " in place";
    }
  }
}

// As a step does it: many buckets under way while the caller computes and communicates.
TEST(StartedReduceScatter, SeveralUnderWayBesideOtherCollectives) {
  constexpr int kRounds = 20;
  constexpr int kBuckets = 6;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<at::Tensor> fulls, shards, wants;
    std::vector<std::unique_ptr<Pending>> pending;
    for (int bucket = 0; bucket < kBuckets; ++bucket) {
      fulls.push_back(held((1000 + 7919 * bucket) * group().size(), at::kFloat, bucket + round));
      wants.push_back(at::empty({fulls.back().numel() / group().size()}, at::kFloat));
      group().reduce_scatter(wants.back(), fulls.back(), ReduceOp::sum);
      shards.push_back(own_part(fulls.back()));
    }
    for (int bucket = 0; bucket < kBuckets; ++bucket) {
      pending.push_back(group().start_reduce_scatter(shards[bucket], fulls[bucket], ReduceOp::sum));
      at::Tensor one = at::ones({300'000}, at::kDouble);
      group().all_reduce(one, ReduceOp::sum);
      ASSERT_EQ(one[299'999].item<double>(), group().size());
      ASSERT_EQ(group().all_reduce_value(std::int64_t{1}, ReduceOp::sum), group().size());
    }
    std::reverse(pending.begin(), pending.end());  // waiting may come in any order
    for (const auto& one : pending) one->wait();
    for (int bucket = 0; bucket < kBuckets; ++bucket) ASSERT_TRUE(at::equal(shards[bucket], wants[bucket]));
  }
}

TEST(StartedReduceScatter, EveryGroupHasAThreadOfItsOwnAndEndsCleanly) {
  for (int round = 0; round < 5; ++round) {
    const auto all = group().split(0, group().rank());
    const auto half = group().split(group().rank() % 2, group().rank());
    at::Tensor of_all = at::ones({4 * all->size()}, at::kFloat);
    at::Tensor of_half = at::ones({4 * half->size()}, at::kFloat);
    at::Tensor all_shard = of_all.narrow(0, 4 * all->rank(), 4);
    at::Tensor half_shard = of_half.narrow(0, 4 * half->rank(), 4);
    auto first = all->start_reduce_scatter(all_shard, of_all, ReduceOp::sum);
    auto second = half->start_reduce_scatter(half_shard, of_half, ReduceOp::max);
    if (round == 4) continue;  // the groups end with work under way: they finish it
    second->wait();
    first->wait();
    EXPECT_EQ(all_shard[3].item<float>(), static_cast<float>(all->size()));
    EXPECT_EQ(half_shard[3].item<float>(), 1);
  }
}

// A rank that is late with its part must not keep the others from computing.
TEST(StartedReduceScatter, RunsWhileTheCallerWorks) {
  const tests::TemporaryFolder folder;
  const std::string path = folder / "trace";
  trace::start(path, group().rank());
  at::Tensor full = held(2'000'000 * group().size(), at::kFloat, 0);
  at::Tensor shard = own_part(full);
  {
    const auto pending = group().start_reduce_scatter(shard, full, ReduceOp::sum);
    {
      const trace::Span span("work");
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
    }
    pending->wait();
  }
  trace::stop();
  if (group().size() == 1) return;  // nothing to communicate, nothing to see
  std::ifstream stream(path + text_of(".rank_0000", group().rank(), ".json"));
  double work_ends = 0, begins = 0, ends = 0;
  for (const auto& event : nlohmann::json::parse(stream)) {
    if (event.at("ph") != "X") continue;
    const double begin = event.at("ts").get<double>();
    const double end = begin + event.at("dur").get<double>();
    if (event.at("name") == "work") work_ends = end;
    if (event.at("name") == "reduce_scatter") {
      EXPECT_EQ(event.at("tid"), static_cast<int>(trace::Lane::communication));
      begins = begin;
      ends = end;
    }
  }
  EXPECT_GT(ends, 0);
  EXPECT_LT(begins, work_ends);
}

TEST(ProgressThread, WorksInOrderAndBringsErrorsToWait) {
  ProgressThread thread;
  std::vector<int> order;
  std::vector<std::unique_ptr<Pending>> pending;
  for (int i = 0; i < 5; ++i) pending.push_back(thread.run([&, i] { order.push_back(i); }));
  pending.back()->wait();
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4}));
  const auto broken = thread.run([] { throw std::runtime_error("cable"); });
  bool ran = false;
  const auto later = thread.run([&] { ran = true; });
  EXPECT_THROW(later->wait(), std::runtime_error) << "what follows a failure is not begun";
  EXPECT_THROW(broken->wait(), std::runtime_error);
  EXPECT_FALSE(ran);
}

// With an exception in flight the peers may never answer: the thread is left to itself.
TEST(ProgressThread, DoesNotHoldUpAnExceptionInFlight) {
  std::atomic<bool> released{false};
  std::atomic<bool> ended{false};
  EXPECT_THROW(
      {
        ProgressThread thread;
        const auto pending = thread.run([&] {
          while (!released) std::this_thread::sleep_for(std::chrono::milliseconds(1));
          ended = true;
        });
        throw std::runtime_error("peer lost");
      },
      std::runtime_error);
  released = true;
  while (!ended) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

}  // namespace
}  // namespace osler::comm
