#include "train/step_stats.hpp"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "train/device_batch.hpp"

namespace osler::train {
namespace {

using testing::DoubleEq;
using testing::ElementsAre;

data::Batch two_rows() {
  data::Batch batch;
  batch.labels_BT = at::tensor({1, 2, -100, 4, -100, -100}, at::kLong).view({2, 3});
  batch.source_B = {1, 0};
  return batch;
}

TEST(StepStats, SplitsLossAndTokensBySource) {
  const auto group = comm::make_self_group();
  StepStats stats({.num_sources = 3, .num_layers = 0, .num_experts = 0}, comm::single(), at::kCPU);
  loss::LossSum loss;
  loss.loss_R = at::tensor({0.5, 0.25, 0.0, 2.0, 0.0, 0.0}, at::kFloat);
  for (int micro_batch = 0; micro_batch < 2; ++micro_batch) stats.add(two_rows(), loss);
  const StepTotals totals = stats.reduce(*group, {.signals = 1});
  EXPECT_THAT(totals.loss_S, ElementsAre(4.0, 1.5, 0.0));
  EXPECT_THAT(totals.tokens_S, ElementsAre(2.0, 4.0, 0.0));
  EXPECT_THAT(totals.loss(), DoubleEq(5.5 / 6));
  EXPECT_TRUE(totals.wishes.any());
  EXPECT_TRUE(totals.is_finite());

  stats.reset();
  stats.add(two_rows(), loss);
  EXPECT_THAT(stats.reduce(*group, {}).loss_S, ElementsAre(2.0, 0.75, 0.0));
  EXPECT_FALSE(stats.reduce(*group, {}).wishes.any());
}

TEST(StepStats, CountsRoutedRowsPerLayerSourceAndExpert) {
  const auto group = comm::make_self_group();
  StepStats stats({.num_sources = 2, .num_layers = 2, .num_experts = 3}, comm::single(), at::kCPU);
  loss::RouterLoss router;
  router.aux = at::scalar_tensor(2.5, at::kFloat);
  data::Batch batch;  // two sequences of one token: the first of source 1
  batch.labels_BT = at::zeros({2, 1}, at::kLong);
  batch.source_B = {1, 0};
  const std::vector<at::Tensor> experts = {at::tensor({0, 1, 0, 2}, at::kLong).view({2, 2}),
                                           at::tensor({2, 1, 2, 1}, at::kLong).view({2, 2})};
  stats.add(batch, router, experts);
  stats.add(batch, router, experts);
  const StepTotals totals = stats.reduce(*group, {});
  ASSERT_EQ(totals.load_LE.size(), 2u);
  EXPECT_THAT(totals.load_LE[0], ElementsAre(4.0, 2.0, 2.0));
  EXPECT_THAT(totals.load_LE[1], ElementsAre(0.0, 4.0, 4.0));
  ASSERT_EQ(totals.load_SE.size(), 2u);
  EXPECT_THAT(totals.load_SE[0], ElementsAre(2.0, 2.0, 4.0));
  EXPECT_THAT(totals.load_SE[1], ElementsAre(2.0, 4.0, 2.0));
  EXPECT_EQ(totals.aux_loss, 5.0);
}

TEST(StepStats, SeesEveryKindOfNonFiniteLoss) {
  const auto group = comm::make_self_group();
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    StepStats stats({.num_sources = 2, .num_layers = 0, .num_experts = 0}, comm::single(), at::kCPU);
    loss::LossSum loss;
    loss.loss_R = at::tensor({0.5, 0.25, 0.0, 2.0, 0.0, 0.0}, at::kFloat);
    loss.loss_R[3] = bad;
    stats.add(two_rows(), loss);
    EXPECT_FALSE(stats.reduce(*group, {}).is_finite());

    StepStats routed({.num_sources = 2, .num_layers = 1, .num_experts = 2}, comm::single(), at::kCPU);
    loss::RouterLoss router;
    router.z = at::scalar_tensor(bad, at::kFloat);
    data::Batch one_token;
    one_token.labels_BT = at::zeros({1, 1}, at::kLong);
    one_token.source_B = {0};
    routed.add(one_token, router, {at::tensor({0, 1}, at::kLong).view({1, 2})});
    EXPECT_FALSE(routed.reduce(*group, {}).is_finite());
  }
}

TEST(AttentionLayout, CutsAtDocumentsAndAtRows) {
  const auto segments = at::tensor({0, 0, 1, 1, 1, 2, 3, 3}, at::kLong).view({2, 4});
  const auto layout = attention_layout_of(segments);
  EXPECT_EQ(layout.num_rows, 8);
  std::vector<std::pair<std::int64_t, std::int64_t>> found;
  for (const auto& segment : layout.segments) found.emplace_back(segment.begin, segment.length);
  EXPECT_THAT(found, ElementsAre(std::pair(0, 2), std::pair(2, 2), std::pair(4, 1), std::pair(5, 1), std::pair(6, 2)));
  EXPECT_EQ(attention_layout_of(at::zeros({3, 5}, at::kLong)).segments.size(), 3u);
}

}  // namespace
}  // namespace osler::train
