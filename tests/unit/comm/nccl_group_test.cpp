// What the NCCL group asks of NCCL and in which order, recorded by a double (tests/support/nccl_double.hpp): function,
// addresses, counts, types, operation, peer, communicator and stream of every collective.
#include "comm/nccl_group.hpp"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "base/error.hpp"
#include "comm/watchdog.hpp"
#include "support/nccl_double.hpp"

namespace osler::comm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Lines = std::vector<std::string>;

/// The control plane of rank 1 of 3 as the group sees it, when the other ranks do as this one does.
class OtherRanks final : public Group {
 public:
  explicit OtherRanks(int rank, int size = 3) : rank_(rank), size_(size) {}
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  void barrier() override {}
  std::string broadcast_bytes(const std::string& bytes, int root) override {
    return root == rank_ ? bytes : std::string(sizeof(ncclUniqueId), 'r');  // rank 0 sends an id of r's
  }
  std::vector<std::string> all_gather_bytes(const std::string& bytes) override {
    return std::vector<std::string>(static_cast<std::size_t>(size_), bytes);
  }
  double all_reduce_value(double value, ReduceOp) override { return value; }
  std::int64_t all_reduce_value(std::int64_t value, ReduceOp) override { return value; }
  std::unique_ptr<Group> split(int color, int) override { return std::make_unique<OtherRanks>(0, color); }

 protected:
  void do_all_reduce(at::Tensor&, ReduceOp) override { refuse(); }
  void do_reduce_scatter(at::Tensor&, const at::Tensor&, ReduceOp) override { refuse(); }
  std::unique_ptr<Pending> do_start_reduce_scatter(at::Tensor&, const at::Tensor&, ReduceOp) override { refuse(); }
  void do_all_gather(at::Tensor&, const at::Tensor&) override { refuse(); }
  void do_all_to_all(at::Tensor&, const std::vector<std::int64_t>&, const at::Tensor&,
                     const std::vector<std::int64_t>&) override {
    refuse();
  }
  void do_broadcast(at::Tensor&, int) override { refuse(); }

 private:
  [[noreturn]] static void refuse() { throw InternalError("device tensors do not go through the control plane"); }
  int rank_;
  int size_;
};

class NcclGroupTest : public testing::Test {
 protected:
  void SetUp() override { tests::reset_nccl_double(); }
  tests::NcclDouble& nccl() { return tests::nccl_double(); }
  std::unique_ptr<Group> make(int rank = 1) {
    auto group = make_nccl_group(std::make_unique<OtherRanks>(rank), tests::make_recorded_streams());
    group->check_sequence(false);
    return group;
  }
  /// A ready group, its beginnings forgotten.
  std::unique_ptr<Group> ready() {
    auto group = make();
    nccl().take();
    return group;
  }
  /// The lines of NCCL alone.
  Lines take_collectives() {
    Lines lines = nccl().take();
    std::erase_if(lines, [](const std::string& line) { return line.compare(0, 4, "nccl") != 0; });
    return lines;
  }
  at::Tensor named(const std::string& name, at::IntArrayRef shape, at::ScalarType type) {
    at::Tensor tensor = at::zeros(shape, type);
    nccl().name(tensor, name);
    return tensor;
  }
};

TEST_F(NcclGroupTest, RankZeroMakesTheIdAndOthersGetItOverTheControlPlane) {
  const auto zero = make(0);
  EXPECT_THAT(nccl().take(), ElementsAre("ncclGetUniqueId()", "ncclCommInitRankConfig(rank 0 of 3, blocking 0)"));
  EXPECT_EQ(nccl().id_of_init, std::string(sizeof(ncclUniqueId), 'i'));
  const auto one = make(1);
  EXPECT_THAT(nccl().take(), ElementsAre("ncclCommInitRankConfig(rank 1 of 3, blocking 0)"));
  EXPECT_EQ(nccl().id_of_init, std::string(sizeof(ncclUniqueId), 'r'));
}

TEST_F(NcclGroupTest, PollsWhileACallIsInProgress) {
  nccl().results["ncclCommInitRankConfig"] = ncclInProgress;
  nccl().polls_in_progress = 5;
  const auto group = make();
  EXPECT_EQ(nccl().polls_in_progress, 0) << "creation waits until the communicator is there";
  nccl().results["ncclAllReduce"] = ncclInProgress;
  at::Tensor tensor = named("t", {4}, at::kFloat);
  nccl().polls_in_progress = 5;
  group->all_reduce(tensor, ReduceOp::sum);
  EXPECT_EQ(nccl().polls_in_progress, 0);
}

TEST_F(NcclGroupTest, EveryTypeAndOperationHasItsName) {
  const auto group = ready();
  for (const auto& [type, name] : std::vector<std::pair<at::ScalarType, std::string>>{{at::kByte, "uint8"},
                                                                                      {at::kInt, "int32"},
                                                                                      {at::kLong, "int64"},
                                                                                      {at::kHalf, "float16"},
                                                                                      {at::kBFloat16, "bfloat16"},
                                                                                      {at::kFloat, "float32"},
                                                                                      {at::kDouble, "float64"}}) {
    for (const auto& [op, op_name] : std::vector<std::pair<ReduceOp, std::string>>{
             {ReduceOp::sum, "sum"}, {ReduceOp::max, "max"}, {ReduceOp::min, "min"}}) {
      nccl().spans.clear();
      at::Tensor tensor = named("t", {3, 4}, type);
      group->all_reduce(tensor, op);
      EXPECT_THAT(take_collectives(),
                  ElementsAre("ncclAllReduce(t, t, 12, " + name + ", " + op_name + ", comm 1, current)"));
    }
  }
  at::Tensor odd = named("odd", {2}, at::kComplexFloat);
  EXPECT_THROW(group->all_reduce(odd, ReduceOp::sum), InternalError);
}

TEST_F(NcclGroupTest, ReducesGathersAndBroadcastsOnTheCurrentStream) {
  const auto group = ready();
  at::Tensor full = named("full", {3, 10}, at::kBFloat16);
  at::Tensor shard = named("shard", {10}, at::kBFloat16);
  at::Tensor own = full[1];
  group->reduce_scatter(shard, full, ReduceOp::max);
  group->reduce_scatter(own, full, ReduceOp::sum);
  group->all_gather(full, shard);
  group->all_gather(full, own);
  group->broadcast(shard, 2);
  EXPECT_THAT(take_collectives(), ElementsAre("ncclReduceScatter(full, shard, 10, bfloat16, max, comm 1, current)",
                                              "ncclReduceScatter(full, full+20, 10, bfloat16, sum, comm 1, current)",
                                              "ncclAllGather(shard, full, 10, bfloat16, comm 1, current)",
                                              "ncclAllGather(full+20, full, 10, bfloat16, comm 1, current)",
                                              "ncclBroadcast(shard, shard, 10, bfloat16, root 2, comm 1, current)"));
}

TEST_F(NcclGroupTest, MovesRowsInOneNcclGroupAndLeavesOutEmptyParts) {
  const auto group = ready();
  at::Tensor sent = named("sent", {6, 5}, at::kFloat);  // 20 bytes a row
  at::Tensor received = named("received", {4, 5}, at::kFloat);
  group->all_to_all(received, {3, 1, 0}, sent, {0, 2, 4});
  EXPECT_THAT(take_collectives(),
              ElementsAre("ncclGroupStart()", "ncclRecv(received, 60, uint8, peer 0, comm 1, current)",
                          "ncclSend(sent, 40, uint8, peer 1, comm 1, current)",
                          "ncclRecv(received+60, 20, uint8, peer 1, comm 1, current)",
                          "ncclSend(sent+40, 80, uint8, peer 2, comm 1, current)", "ncclGroupEnd()"));
  nccl().results["ncclSend"] = ncclRemoteError;
  EXPECT_THROW(group->all_to_all(received, {3, 1, 0}, sent, {0, 2, 4}), CommError);
  EXPECT_EQ(take_collectives().back(), "ncclGroupEnd()") << "a group that was opened is closed";
}

// The started collective sees what was computed before it, and what comes after wait() sees its result; nothing else
// is ordered, so that computing goes on beside it.
TEST_F(NcclGroupTest, StartedReduceScatterRunsOnAStreamOfItsOwnBetweenEvents) {
  const auto group = ready();
  at::Tensor a = named("a", {3, 4}, at::kFloat), b = named("b", {3, 2}, at::kFloat);
  at::Tensor a_shard = a[1], b_shard = named("b_shard", {2}, at::kFloat);
  const auto first = group->start_reduce_scatter(a_shard, a, ReduceOp::sum);
  const auto second = group->start_reduce_scatter(b_shard, b, ReduceOp::sum);
  EXPECT_THAT(nccl().take(), ElementsAre("event 1 in current", "stream 1 waits for event 1",
                                         "ncclReduceScatter(a, a+16, 4, float32, sum, comm 1, stream 1)",
                                         "event 2 in stream 1", "keep a+16 for stream 1", "keep a for stream 1",  //
                                         "event 3 in current", "stream 1 waits for event 3",
                                         "ncclReduceScatter(b, b_shard, 2, float32, sum, comm 1, stream 1)",
                                         "event 4 in stream 1", "keep b_shard for stream 1", "keep b for stream 1"));
  first->wait();
  second->wait();
  EXPECT_THAT(nccl().take(), ElementsAre("current waits for event 2", "current waits for event 4"));
}

TEST_F(NcclGroupTest, SplitsHaveCommunicatorsAndStreamsOfTheirOwn) {
  const auto group = make();
  const auto pair = group->split(/*color: here the size*/ 2, 0);
  const auto alone = group->split(1, 0);
  nccl().take();
  at::Tensor full = named("f", {2}, at::kFloat);
  at::Tensor shard = named("s", {1}, at::kFloat);
  pair->start_reduce_scatter(shard, full, ReduceOp::sum)->wait();
  EXPECT_THAT(nccl().take(),
              ElementsAre("event 1 in current", "stream 2 waits for event 1",
                          "ncclReduceScatter(f, s, 1, float32, sum, comm 2, stream 2)", "event 2 in stream 2",
                          "keep s for stream 2", "keep f for stream 2", "current waits for event 2"));
  alone->all_reduce(full, ReduceOp::sum);
  EXPECT_THAT(nccl().take(), ElementsAre()) << "a group of one needs no NCCL";
}

TEST_F(NcclGroupTest, CountsTheSameBytesAsTheMpiGroup) {
  const auto group = ready();
  at::Tensor full = named("full", {3, 10}, at::kBFloat16);
  at::Tensor shard = named("shard", {10}, at::kBFloat16);
  at::Tensor odd = named("odd", {11}, at::kFloat);  // rank 1's part of 11 is 4
  at::Tensor sent = named("sent", {6, 5}, at::kFloat);
  at::Tensor received = named("received", {4, 5}, at::kFloat);
  group->reduce_scatter(shard, full, ReduceOp::sum);
  group->start_reduce_scatter(shard, full, ReduceOp::sum)->wait();
  group->all_gather(full, shard);
  group->all_reduce(odd, ReduceOp::sum);
  group->all_to_all(received, {3, 1, 0}, sent, {0, 2, 4});
  group->broadcast(odd, 0);
  group->broadcast(odd, 1);
  EXPECT_EQ(group->traffic(), (Traffic{.all_reduce = (11 - 4 + 2 * 4) * 4,
                                       .reduce_scatter = 2 * 2 * 20,
                                       .all_gather = 2 * 20,
                                       .all_to_all = 4 * 20,
                                       .broadcast = 2 * 44}));
}

TEST_F(NcclGroupTest, ErrorsOfCallsAndOfEarlierCollectivesAreThrownWithNcclsWords) {
  const auto group = ready();
  at::Tensor tensor = named("t", {4}, at::kFloat);
  nccl().results["ncclAllReduce"] = ncclRemoteError;
  try {
    group->all_reduce(tensor, ReduceOp::sum);
    FAIL() << "no error";
  } catch (const CommError& error) {
    EXPECT_THAT(error.what(), HasSubstr("ncclAllReduce failed: remote error: what NCCL says of it"));
  }
  nccl().results.clear();
  group->all_reduce(tensor, ReduceOp::sum);
  nccl().state = ncclRemoteError;  // a peer is lost while the collective runs
  nccl().take();
  EXPECT_THROW(group->broadcast(tensor, 0), CommError);
  EXPECT_THAT(nccl().take(), ElementsAre()) << "nothing more is queued";
  nccl().state = ncclSuccess;
  at::Tensor other = at::zeros({4}, at::kFloat).narrow(0, 0, 4).expand({2, 4});
  EXPECT_THROW(group->all_reduce(other, ReduceOp::sum), InternalError) << "not contiguous";
}

// No thread waits in a collective of a GPU: the watchdog asks the group.
TEST_F(NcclGroupTest, TheWatchdogSeesCollectivesThatAreNotOverAndTheirFailures) {
  const auto group = ready();
  at::Tensor tensor = named("t", {4}, at::kFloat);
  EXPECT_EQ(place_of_this_process().section, "");
  nccl().events_are_over = false;
  group->broadcast(tensor, 0);
  EXPECT_EQ(place_of_this_process().section, "ncclBroadcast");
  EXPECT_LT(place_of_this_process().for_s, 60);
  nccl().events_are_over = true;
  EXPECT_EQ(place_of_this_process().section, "");
  nccl().state = ncclRemoteError;
  EXPECT_THAT(place_of_this_process().failure, HasSubstr("remote error: what NCCL says of it"));
}

TEST_F(NcclGroupTest, AnotherNcclThanTheCompiledOneIsRefused) {
  nccl().version = NCCL_VERSION_CODE + 100;  // the next minor version
  EXPECT_THROW(make(), CommError);
  EXPECT_THAT(nccl().take(), ElementsAre());
}

TEST_F(NcclGroupTest, CreationThatFailsIsAbortedAndSaid) {
  nccl().results["ncclCommInitRankConfig"] = ncclSystemError;
  EXPECT_THROW(make(), CommError);
  EXPECT_THAT(nccl().take(), ElementsAre("ncclCommInitRankConfig(rank 1 of 3, blocking 0)", "ncclCommAbort(comm 1)"));
}

TEST_F(NcclGroupTest, IsFinalizedInPeaceAndAbortedWithAnExceptionInFlight) {
  ready().reset();
  EXPECT_THAT(nccl().take(), ElementsAre("ncclCommFinalize(comm 1)", "ncclCommDestroy(comm 1)"));
  EXPECT_THROW(
      {
        const auto group = ready();
        throw std::runtime_error("peer lost");
      },
      std::runtime_error);
  EXPECT_THAT(nccl().take(), ElementsAre("ncclCommAbort(comm 2)"));
  auto group = ready();
  nccl().results["ncclCommFinalize"] = ncclRemoteError;
  group.reset();
  EXPECT_THAT(nccl().take(), ElementsAre("ncclCommFinalize(comm 3)", "ncclCommAbort(comm 3)"));
}

}  // namespace
}  // namespace osler::comm
