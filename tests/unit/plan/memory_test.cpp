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

// tests/ranks/train/memory_test.cpp sets the sums against what a step allocates; here are the formulas by hand.
TEST(Memory, OfActivationsFollowsRecompute) {
  ForecastInput input = tiny(false);
  // Elements of a row in a layer: two residuals of 16; q k v 16 + 2 * 8; attention 16, twice where documents are
  // packed; gate and up 24; normed inputs 32; product 12. In fp32 besides: two deviations, four heads' logsumexp.
  const double rows = 16, layers = 2, kept = 32 + 32 + 2 * 16 + 24, rebuilt = 32 + 12, sums = (2 + 4) * 4;
  const double tables = rows * (3 * 8 + 4 * 4), last = rows * 16 * 2;
  const auto activations = [&](config::Recompute recompute) {
    input.parallel.recompute = recompute;
    return bytes_of(input, 1, "activations");
  };
  EXPECT_EQ(activations(config::Recompute::none), layers * rows * (2 * (kept + rebuilt) + sums) + tables + last);
  EXPECT_EQ(activations(config::Recompute::selective), layers * rows * (2 * kept + sums) + tables + last);
  EXPECT_EQ(activations(config::Recompute::full), layers * rows * 2 * 32 + tables + last);
  input.data.cross_document = true;
  EXPECT_EQ(activations(config::Recompute::selective), layers * rows * (2 * (kept - 16) + sums) + tables + last);
  input.parallel.tp = 4;  // key-value heads are copied: k and v are as wide as with four heads
  EXPECT_EQ(bytes_of(input, 4, "activations"), layers * rows / 4 * (2 * (kept - 16 + 16) + sums) + tables + last / 4);
}

TEST(Memory, OfTheWorkspaceIsTheFullestMoment) {
  ForecastInput input = tiny(false);
  input.cluster.gpu = "cpu";
  input.parallel.dtype = config::Precision::fp32;
  // In the loss: a chunk of 16 rows of logits, the last states' norm and gradient.
  EXPECT_EQ(bytes_of(input, 1, "workspace"), 4 * (16 * 40 + 16 * (16 + 16)));
  input.parallel.dtype = config::Precision::bf16;  // and the head's gradient before it is added to its sum
  EXPECT_EQ(bytes_of(input, 1, "workspace"), 2 * (16 * 40 + 16 * (16 + 16) + 40 * 16));
  input.parallel.dtype = config::Precision::fp32;
  input.parallel.tp = 2;  // half of the vocabulary; states and their gradient of all rows
  EXPECT_EQ(bytes_of(input, 2, "workspace"), 4 * (16 * 20 + 8 * 16 + 2 * 16 * 16));
  // In the last layer: the gradients of the stream, of gate and up, and of the product, made again.
  input.parallel.tp = 1;
  input.model.intermediate_size = 100;
  EXPECT_EQ(bytes_of(input, 1, "workspace"), 4 * 16 * (16 + 3 * 100));
  input.parallel.recompute = config::Recompute::none;  // the product was kept and is freed
  EXPECT_EQ(bytes_of(input, 1, "workspace"), 4 * 16 * (16 + 2 * 100));
}

TEST(Memory, OfTheLossIsAChunkOfLocalVocabulary) {
  EXPECT_EQ(loss_chunk_rows(4096, 32000, 4), 512);
  EXPECT_EQ(loss_chunk_rows(4096, 32000, 2), 1024);
  EXPECT_EQ(loss_chunk_rows(4096, 128000, 4), 128);
  EXPECT_EQ(loss_chunk_rows(100, 32000, 2), 100);
}

TEST(Memory, OfTheFullestExpertRankGrowsWithImbalance) {
  ForecastInput input = tiny(true);
  input.parallel.ep = 4;
  const Mesh mesh = build_mesh(4, input.model, input.parallel, input.data);
  const auto total = [&](double imbalance) {
    input.imbalance = imbalance;
    return total_bytes(memory_of_rank(input, mesh));
  };
  for (const double imbalance : {1.0, 1.5, 2.25, 3.0}) {
    EXPECT_LT(total(imbalance), total(imbalance + 0.5));
    EXPECT_NEAR(largest_imbalance(input, mesh, total(imbalance)), imbalance, 2e-3);
  }
  EXPECT_EQ(largest_imbalance(input, mesh, 10 * total(4)), 4);  // more than all rows is not to be had
  EXPECT_EQ(largest_imbalance(input, mesh, total(1) - 1), 0);
  input.parallel.ep = 1;  // all experts are here, whatever the router does
  const Mesh alone = build_mesh(1, input.model, input.parallel, input.data);
  input.imbalance = 1;
  const double even = total_bytes(memory_of_rank(input, alone));
  input.imbalance = 3;
  EXPECT_EQ(total_bytes(memory_of_rank(input, alone)), even);
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
