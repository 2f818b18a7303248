#include <gtest/gtest.h>

#include "plan/forecast.hpp"
#include "plan/loss_chunk.hpp"
#include "unit/plan/models.hpp"

namespace osler::plan {
namespace {

double bytes_of(const ForecastInput& input, std::int64_t world, const std::string& what) {
  for (const MemoryItem& item : memory_of_rank(input, build_mesh(world, input.model, input.parallel, input.data)))
    if (item.what == what) return item.num_bytes;
  return 0;
}

TEST(Memory, OfActivationsFollowsRecompute) {
  ForecastInput input = tiny(false);
  // A row of a layer: residuals 2 * 16, q k v and attention 2 * 16 + 2 * 8, gate and up 24; normed inputs 32,
  // product 12.
  const double rows = 16, kept = 32 + 48 + 24, rebuilt = 32 + 12;
  input.parallel.recompute = config::Recompute::none;
  EXPECT_EQ(bytes_of(input, 1, "activations"), rows * 2 * (2 * (kept + rebuilt)));
  input.parallel.recompute = config::Recompute::selective;
  EXPECT_EQ(bytes_of(input, 1, "activations"), rows * 2 * (2 * kept + rebuilt));
  input.parallel.recompute = config::Recompute::full;
  EXPECT_EQ(bytes_of(input, 1, "activations"), rows * 2 * (2 * 32 + kept + rebuilt));
  EXPECT_EQ(bytes_of(input, 1, "backward workspace"), rows * 2 * (kept + rebuilt));
  EXPECT_EQ(bytes_of(input, 1, "communication"), 0);
  input.parallel.tp = 4;  // key-value heads are copied: k and v are as wide as with four heads
  EXPECT_EQ(bytes_of(input, 4, "backward workspace"), rows / 4 * 2 * (kept + 16 + rebuilt));
}

TEST(Memory, OfBuffersGrowsWithTheirAxes) {
  ForecastInput input = tiny(true);
  input.parallel.tp = 2;
  EXPECT_EQ(bytes_of(input, 4, "communication"), 2 * 16 * 16 * 2);
  input.parallel.ep = 4;
  input.imbalance = 1.5;
  const double routed = 16.0 / 2 * 2;
  EXPECT_EQ(bytes_of(input, 4, "communication"), 2 * 16 * 16 * 2 + (1 + 1.5) * routed * (16 * 2 + 4));
}

TEST(Memory, OfTheLossIsAChunkOfLocalVocabulary) {
  EXPECT_EQ(loss_chunk_rows(4096, 32000, 4), 512);
  EXPECT_EQ(loss_chunk_rows(4096, 32000, 2), 1024);
  EXPECT_EQ(loss_chunk_rows(4096, 128000, 4), 128);
  EXPECT_EQ(loss_chunk_rows(100, 32000, 2), 100);
  ForecastInput input = tiny(false);
  input.parallel.tp = 2;
  EXPECT_EQ(bytes_of(input, 2, "loss"), 2 * (16 * 20 + 2.5 * 16 * 16));
}

TEST(Memory, OfTheFullestExpertRankIsLinearInImbalance) {
  ForecastInput input = tiny(true);
  input.parallel.ep = 4;
  const Mesh mesh = build_mesh(4, input.model, input.parallel, input.data);
  const auto total = [&](double imbalance) {
    input.imbalance = imbalance;
    return total_bytes(memory_of_rank(input, mesh));
  };
  const double even = total(1), slope = total(2) - even;
  EXPECT_GT(slope, 0);
  EXPECT_NEAR(total(3), even + 2 * slope, 1e-6);
  EXPECT_NEAR(largest_imbalance(input, mesh, even + 1.25 * slope), 2.25, 1e-6);
  EXPECT_EQ(largest_imbalance(input, mesh, even + 100 * slope), 4);  // more than all rows is not to be had
  EXPECT_EQ(largest_imbalance(input, mesh, even - 1), 0);
}

TEST(Checkpoints, TakeTheTimeOfStorageAndSums) {
  // 100 GB over 10 ranks to 20 GB/s: 5 s, and 10 GB of each summed at 2 GB/s.
  EXPECT_DOUBLE_EQ(save_seconds(100'000'000'000, 10, 20e9), 5 + 5);
  ForecastInput input = tiny(false);
  input.cluster.storage_gbytes_per_s = 1;
  const Forecast forecast = compute_forecast(input, build_mesh(1, input.model, input.parallel, input.data));
  const auto bytes = static_cast<double>(forecast.checkpoint_bytes);
  EXPECT_EQ(bytes, 12 * static_cast<double>(forecast.parameters.total));
  EXPECT_DOUBLE_EQ(forecast.save_s, bytes / 1e9 + bytes / 2e9);
}

}  // namespace
}  // namespace osler::plan
