#include "train/step_stats.hpp"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "support/ranks_world.hpp"

namespace osler::train {
namespace {

using testing::ElementsAre;

struct Share {
  data::Batch batch;
  loss::LossSum loss;
};

/// One row of two tokens from source `rank % 2`, with loss rank + 1 per token.
Share share_of(int rank) {
  Share share;
  share.batch.labels_BT = at::tensor({1, 2}, at::kLong).view({1, 2});
  share.batch.source_B = {rank % 2};
  share.loss.loss_R = at::full({2}, rank + 1.0, at::kFloat);
  return share;
}

TEST(StepStats, EveryRankHoldsTheSumsOfAll) {
  auto& ranks = tests::world().ranks();
  StepStats stats({.num_sources = 2, .num_layers = 1, .num_experts = 3}, comm::single(), at::kCPU);
  const Share share = share_of(ranks.rank());
  stats.add(share.batch, share.loss);
  loss::RouterLoss router;
  router.aux = at::scalar_tensor(1.0, at::kFloat);
  stats.add(share.batch, router, {at::full({2, 1}, ranks.rank() % 3, at::kLong)});
  const StepTotals totals = stats.reduce(ranks, {});

  std::vector<double> loss_S(2, 0.0);
  std::vector<double> tokens_S(2, 0.0);
  std::vector<double> load_E(3, 0.0);
  for (int rank = 0; rank < ranks.size(); ++rank) {
    loss_S[static_cast<std::size_t>(rank % 2)] += 2.0 * (rank + 1);
    tokens_S[static_cast<std::size_t>(rank % 2)] += 2.0;
    load_E[static_cast<std::size_t>(rank % 3)] += 2.0;
  }
  EXPECT_EQ(totals.loss_S, loss_S);
  EXPECT_EQ(totals.tokens_S, tokens_S);
  EXPECT_THAT(totals.load_LE, ElementsAre(load_E));
  EXPECT_EQ(totals.aux_loss, ranks.size());
  EXPECT_FALSE(totals.wishes.any());
}

TEST(StepStats, OneRanksWishAndOneRanksNanReachAll) {
  auto& ranks = tests::world().ranks();
  const int odd_one = ranks.size() - 1;
  StepStats stats({.num_sources = 2, .num_layers = 0, .num_experts = 0}, comm::single(), at::kCPU);
  Share share = share_of(ranks.rank());
  if (ranks.rank() == odd_one) share.loss.loss_R[1] = std::numeric_limits<float>::quiet_NaN();
  stats.add(share.batch, share.loss);
  const StepTotals totals = stats.reduce(ranks, {.signals = ranks.rank() == odd_one ? 1.0 : 0.0, .time_limit = 1.0});
  EXPECT_FALSE(totals.is_finite());
  EXPECT_EQ(totals.wishes.signals, 1.0);
  EXPECT_EQ(totals.wishes.time_limit, ranks.size());
}

}  // namespace
}  // namespace osler::train
