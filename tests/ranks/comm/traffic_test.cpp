// Bytes: what the groups count, what the formulas say, and what really goes through MPI are the same number. The
// functions of MPI below stand before the library's own (its profiling interface) and count what is sent.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#define OMPI_SKIP_MPICXX 1
#define MPICH_SKIP_MPICXX 1
#include <mpi.h>

#include <atomic>
#include <functional>
#include <numeric>

#include "base/error.hpp"
#include "plan/piece.hpp"
#include "support/ranks_world.hpp"

namespace {
std::atomic<std::int64_t> bytes_through_mpi{0};
}

extern "C" int MPI_Isend(const void* data, int count, MPI_Datatype type, int peer, int tag, MPI_Comm communicator,
                         MPI_Request* request) {
  int width = 0;
  MPI_Type_size(type, &width);
  bytes_through_mpi += std::int64_t{width} * count;
  return PMPI_Isend(data, count, type, peer, tag, communicator, request);
}

namespace osler::comm {
namespace {

Group& group() {
  return tests::world().host();
}

TEST(Traffic, EqualsTheFormulasAndTheBytesThroughMpi) {
  const std::int64_t n = group().size();
  const std::int64_t me = group().rank();
  const auto part = group().split(0, group().rank());  // a group that has not counted yet
  part->check_sequence(false);                         // what the ranks tell each other then is not counted
  EXPECT_EQ(part->traffic(), Traffic{});
  Traffic expected;
  const auto check = [&](const char* what, std::int64_t& counter, std::int64_t bytes, auto collective) {
    bytes_through_mpi = 0;
    collective();
    EXPECT_EQ(bytes_through_mpi, bytes) << what;
    counter += bytes;
    EXPECT_EQ(part->traffic(), expected) << what;
  };
  for (const auto type : {at::kBFloat16, at::kFloat, at::kDouble}) {
    const auto width = static_cast<std::int64_t>(c10::elementSize(type));
    for (const std::int64_t numel : {0, 1, 7, 1'000'003}) {
      at::Tensor tensor = at::ones({numel}, type);
      const std::int64_t own = plan::split_range(numel, n, me).size();
      check("all_reduce", expected.all_reduce, (numel - own + own * (n - 1)) * width,
            [&] { part->all_reduce(tensor, ReduceOp::sum); });
      at::Tensor full = at::ones({numel * n}, type);
      at::Tensor shard = at::empty({numel}, type);
      check("reduce_scatter", expected.reduce_scatter, (n - 1) * numel * width,
            [&] { part->reduce_scatter(shard, full, ReduceOp::sum); });
      check("start_reduce_scatter", expected.reduce_scatter, (n - 1) * numel * width,
            [&] { part->start_reduce_scatter(shard, full, ReduceOp::max)->wait(); });
      check("all_gather", expected.all_gather, (n - 1) * numel * width, [&] { part->all_gather(full, shard); });
    }
    std::vector<std::int64_t> send_rows, recv_rows;
    std::int64_t to_others = 0;
    for (std::int64_t r = 0; r < n; ++r) {
      send_rows.push_back((me + 2 * r) % 3);
      recv_rows.push_back((r + 2 * me) % 3);
      if (r != me) to_others += send_rows.back();
    }
    const auto total = [](const auto& rows) { return std::accumulate(rows.begin(), rows.end(), std::int64_t{0}); };
    const at::Tensor sent = at::ones({total(send_rows), 5, 3}, type);
    at::Tensor received = at::empty({total(recv_rows), 5, 3}, type);
    check("all_to_all", expected.all_to_all, to_others * 15 * width,
          [&] { part->all_to_all(received, recv_rows, sent, send_rows); });
  }
  // MPI's own tree moves these; the count is the root's, as if it sent to each.
  for (int root = 0; root < n; ++root) {
    at::Tensor tensor = at::ones({9}, at::kFloat);
    part->broadcast(tensor, root);
    if (root == me) expected.broadcast += (n - 1) * 36;
  }
  part->all_gather_bytes("control plane");
  part->barrier();
  EXPECT_EQ(part->traffic(), expected);
  EXPECT_EQ(part->traffic().total(), expected.all_reduce + expected.reduce_scatter + expected.all_gather +
                                         expected.all_to_all + expected.broadcast);
}

class SequenceCheck : public testing::Test {
 protected:
  void SetUp() override {
    part_ = group().split(0, group().rank());
    part_->check_sequence(true);
  }
  /// All ranks but one do the usual; the message that each rank gets.
  template <class Usual, class Odd>
  std::string disagreement(int odd_rank, const Usual& usual, const Odd& odd) {
    try {
      group().rank() == odd_rank ? odd() : usual();
    } catch (const CommError& error) {
      return error.what();
    }
    return "";
  }
  std::unique_ptr<Group> part_;
};

TEST_F(SequenceCheck, NamesTheTwoLowestRanksThatDisagreeAndWhatEachWouldDo) {
  const int n = group().size();
  at::Tensor seven = at::ones({7 * n}, at::kFloat);
  at::Tensor shard = at::ones({7}, at::kFloat);
  for (int odd = 0; odd < n && n > 1; ++odd) {
    SetUp();
    at::Tensor other = at::ones({8 * n}, at::kFloat);
    part_->all_reduce(seven, ReduceOp::sum);
    const std::string message = disagreement(
        odd, [&] { part_->all_gather(seven, shard); }, [&] { part_->all_reduce(other, ReduceOp::max); });
    const std::string usual_intent = text_of("#2 all_gather of ", 7 * n, " x Float");
    const std::string odd_intent = text_of("#2 all_reduce max of ", 8 * n, " x Float");
    EXPECT_EQ(message,
              text_of("ranks 0 and ", odd == 0 ? 1 : odd, " of a group of ", n,
                      " disagree about their next collective: rank 0 is at ", odd == 0 ? odd_intent : usual_intent,
                      ", rank ", odd == 0 ? 1 : odd, " at ", odd == 0 ? usual_intent : odd_intent));
  }
}

TEST_F(SequenceCheck, SeesEveryDifferenceAndNoOther) {
  const int n = group().size();
  at::Tensor a = at::ones({6 * n}, at::kFloat);
  at::Tensor half = at::ones({6 * n}, at::kBFloat16);
  at::Tensor longer = at::ones({7 * n}, at::kFloat);
  at::Tensor shard = at::ones({6}, at::kFloat);
  const std::vector<std::int64_t> rows(static_cast<std::size_t>(n), 1);
  at::Tensor narrow = at::ones({n, 3}, at::kFloat), wide = at::ones({n, 4}, at::kFloat);
  at::Tensor narrow_out = at::empty_like(narrow), wide_out = at::empty_like(wide);
  const auto sum = [&](at::Tensor& tensor) { return [&] { part_->all_reduce(tensor, ReduceOp::sum); }; };
  const std::vector<std::pair<std::function<void()>, std::function<void()>>> pairs = {
      {sum(a), sum(half)},
      {sum(a), sum(longer)},
      {sum(a), [&] { part_->all_reduce(a, ReduceOp::min); }},
      {sum(a), [&] { part_->broadcast(a, 0); }},
      {[&] { part_->broadcast(a, 0); }, [&] { part_->broadcast(a, n - 1); }},
      {[&] { part_->reduce_scatter(shard, a, ReduceOp::sum); },
       [&] { part_->start_reduce_scatter(shard, a, ReduceOp::sum)->wait(); }},
      {[&] { part_->all_to_all(narrow_out, rows, narrow, rows); },
       [&] { part_->all_to_all(wide_out, rows, wide, rows); }}};
  for (const auto& [usual, odd] : pairs) {
    SetUp();
    EXPECT_EQ(disagreement(-1, usual, odd), "");
    EXPECT_EQ(disagreement(n, odd, usual), "");
    if (n == 1) continue;
    EXPECT_NE(disagreement(n - 1, usual, odd), "");
  }
}

}  // namespace
}  // namespace osler::comm
