#include <gtest/gtest.h>

#include "plan/forecast.hpp"
#include "unit/plan/models.hpp"

namespace osler::plan {
namespace {

Rates h100() {
  return rates_of(config::ClusterOptions(), config::Precision::bf16);
}

ForecastInput mistral_run() {
  ForecastInput input;
  input.model = mistral();
  input.data = batch(512, 1);
  return input;
}
StepTime time_of(const ForecastInput& input, std::int64_t world) {
  return time_of_step(input, build_mesh(world, input.model, input.parallel, input.data));
}

TEST(Gemms, RunAtTheirRoofline) {
  const double best = 989.4e12 * 0.803, start = 5e-6;
  // 33 x 4 tiles of 128 fill 132 multiprocessors once; one row of tiles more takes a second wave.
  EXPECT_NEAR(gemm_seconds(h100(), 2, 33 * 128, 4 * 128, 8192) - start, 2.0 * 33 * 128 * 4 * 128 * 8192 / best, 1e-9);
  EXPECT_NEAR(gemm_seconds(h100(), 2, 34 * 128, 4 * 128, 8192) - start,
              2 * (gemm_seconds(h100(), 2, 33 * 128, 4 * 128, 8192) - start), 1e-9);
  // A narrow product is bound by memory: 4096 x 4096 weights once over 0.9 * 3.35 TB/s.
  const double bytes = 2.0 * (8 * 4096 + 4096 * 4096 + 8 * 4096);
  EXPECT_NEAR(gemm_seconds(h100(), 2, 8, 4096, 4096), start + bytes / (0.9 * 3.35e12), 1e-9);
  // Efficiency by size: larger is better.
  double previous = 0;
  for (const std::int64_t size : {512, 1024, 2048, 4096, 8192}) {
    const double rate = 2.0 * static_cast<double>(size * size * size) / gemm_seconds(h100(), 2, size, size, size);
    EXPECT_GT(rate, previous);
    EXPECT_LT(rate, best);
    previous = rate;
  }
}

TEST(Rates, AreTheDevicesUnlessTheOptionsSayMore) {
  config::ClusterOptions cluster;
  cluster.gpu = "a100";
  EXPECT_EQ(rates_of(cluster, config::Precision::bf16).gemm_efficiency, 0.869);
  EXPECT_EQ(rates_of(cluster, config::Precision::bf16).nvlink, 235e9);
  EXPECT_DOUBLE_EQ(rates_of(cluster, config::Precision::bf16).memory, 0.9 * 2.039e12);
  cluster.gemm_efficiency = 0.5, cluster.nvlink_gbytes_per_s = 100, cluster.memory_gbytes_per_s = 1000;
  cluster.network_gbytes_per_s = 20, cluster.storage_gbytes_per_s = 3;
  const Rates rates = rates_of(cluster, config::Precision::bf16);
  EXPECT_EQ(rates.gemm_efficiency, 0.5);
  EXPECT_EQ(rates.nvlink, 100e9);
  EXPECT_DOUBLE_EQ(rates.memory, 0.9e12);
  EXPECT_DOUBLE_EQ(rates.network, 19e9);
  EXPECT_EQ(rates.storage, 3e9);
  cluster.gpu = "cpu";
  EXPECT_FALSE(rates_of(cluster, config::Precision::fp32).knows_device());
}

TEST(StepTime, CountsTheFlopsOfTheModel) {
  // At a matrix rate far below everything else only GEMMs count: those of flops_per_token without attention.
  ForecastInput input = mistral_run();
  input.parallel.recompute = config::Recompute::none;
  input.cluster.gemm_efficiency = 1e-4;
  const double tokens = 512 * 4096, world = 8;
  const double gemm_flops = 6.0 * (7'241'732'096 - 32000 * 4096 - 65 * 4096);  // norms multiply no matrix
  const double at_peak = tokens / world * gemm_flops / (989.4e12 * 1e-4);
  const double gemm_s = time_of(input, 8).gemm_s;
  EXPECT_GT(gemm_s, at_peak);
  EXPECT_LT(gemm_s, 1.05 * at_peak);  // tiles that do not fill the last wave
  input.parallel.recompute = config::Recompute::full;
  const double layers_share = 1 - 32000.0 * 4096 * 6 / gemm_flops;
  EXPECT_NEAR(time_of(input, 8).gemm_s / gemm_s, 1 + layers_share / 3, 0.01);
}

TEST(StepTime, GrowsWithWhatIsAddedAndIsTheSumOfItsParts) {
  ForecastInput input = mistral_run();
  input.parallel.recompute = config::Recompute::none;
  const StepTime none = time_of(input, 64);
  EXPECT_DOUBLE_EQ(none.total_s(), none.compute_s() + none.communication_s());
  EXPECT_EQ(none.tensor_s, 0);
  EXPECT_EQ(none.expert_s, 0);
  input.parallel.recompute = config::Recompute::selective;
  EXPECT_GT(time_of(input, 64).total_s(), none.total_s());
  input.parallel.recompute = config::Recompute::full;
  EXPECT_GT(time_of(input, 64).total_s(), 1.2 * none.total_s());
  input.parallel.recompute = config::Recompute::none;
  input.parallel.tp = 2;
  EXPECT_GT(time_of(input, 64).tensor_s, 0);
  EXPECT_GT(time_of(input, 64).total_s(), none.total_s());
}

TEST(StepTime, HidesWhatTheTrainerOverlaps) {
  ForecastInput input = mistral_run();
  const StepTime ours = time_of(input, 64);
  input.practice.overlaps_gradients = false;
  EXPECT_GT(time_of(input, 64).gradients_s, ours.gradients_s);
  input.practice.overlaps_gradients = true;
  input.parallel.overlap_reduction = false;
  EXPECT_GT(time_of(input, 64).gradients_s, ours.gradients_s);
  input.parallel.overlap_reduction = true;
  input.practice = {.overlaps_weights = true};
  EXPECT_LT(time_of(input, 64).weights_s, ours.weights_s);
  input.cluster.network_gbytes_per_s = 0.5;  // too slow to hide
  EXPECT_GT(time_of(input, 64).gradients_s, 4 * ours.gradients_s);
}

TEST(StepTime, OfExpertsFollowsTheFullestRank) {
  ForecastInput input;
  input.model = mixtral();
  input.data = batch(512, 1);
  input.parallel.ep = 8;
  const StepTime even = time_of(input, 64);
  EXPECT_GT(even.expert_s, 0);
  input.imbalance = 2;
  const StepTime uneven = time_of(input, 64);
  EXPECT_GT(uneven.gemm_s, 1.5 * even.gemm_s);  // 88 % of the GEMM FLOPs are experts'
  EXPECT_LT(uneven.gemm_s, 2 * even.gemm_s);
  EXPECT_EQ(uneven.attention_s, even.attention_s);
}

TEST(StepTime, IsUnknownWithoutAPeak) {
  ForecastInput input = tiny(false);
  input.cluster.gpu = "cpu";
  EXPECT_EQ(time_of(input, 1).total_s(), 0);
}

}  // namespace
}  // namespace osler::plan
