#include <gtest/gtest.h>

#include "plan/shard_table.hpp"
#include "plan/traffic.hpp"
#include "unit/plan/models.hpp"

namespace osler::plan {
namespace {

double bytes_of(const ForecastInput& input, std::int64_t world, Axis axis, const std::string& what,
                Moved moved = Moved::activations) {
  const Mesh mesh = build_mesh(world, input.model, input.parallel, input.data);
  for (const TrafficItem& item : traffic_of_step(input, mesh))
    if (item.axis == axis && item.what == what && item.moved == moved) return item.num_bytes;
  return 0;
}

TEST(Collectives, SendWhatTheirDefinitionsSay) {
  EXPECT_EQ(gather_bytes(1, 100), 0);
  EXPECT_EQ(gather_bytes(4, 100), 300);
  EXPECT_EQ(all_reduce_bytes(1, 100, 4), 0);
  EXPECT_EQ(all_reduce_bytes(2, 100, 4), 400);
  EXPECT_EQ(all_reduce_bytes(4, 100, 4), 2.0 * 3 / 4 * 400);
  EXPECT_EQ(all_reduce_bytes(3, 100, 4), (100 + 34) * 4);  // the rank that owns 34 of them
  EXPECT_EQ(all_to_all_bytes(4, 100), 75);
}

TEST(Collectives, TakeTheSlowerOfNvlinkAndAllLinksOfANode) {
  config::ClusterOptions cluster;
  cluster.network_gbytes_per_s = 10;
  const Rates rates = rates_of(cluster, config::Precision::bf16);
  const auto large = [&](GroupPlace place) { return 1e12 / ring_seconds(rates, place, 1e12, 0) / 1e9; };
  EXPECT_DOUBLE_EQ(large({8, 1}), 365);
  EXPECT_DOUBLE_EQ(large({64, 1}), 8 * 9.5);  // eight members on a node share its links
  EXPECT_DOUBLE_EQ(large({8, 8}), 9.5);
  EXPECT_DOUBLE_EQ(large({16, 2}), 4 * 9.5);
  EXPECT_EQ(ring_seconds(rates, {1, 1}, 1e12, 5), 0);
  EXPECT_GT(ring_seconds(rates, {8, 1}, 0, 2), ring_seconds(rates, {4, 1}, 0, 2));
  // 16 ranks on two nodes: 8 of the 15 others sit behind the network.
  EXPECT_DOUBLE_EQ(exchange_seconds(rates, {16, 1}, 15e9, 0), 8e9 / 9.5e9);
  EXPECT_DOUBLE_EQ(exchange_seconds(rates, {8, 1}, 365e9, 0), 1);
}

TEST(Traffic, OfTensorParallelBlocks) {
  ForecastInput input = tiny(false);
  input.parallel.tp = 2;
  // dp = 2, 4 micro-batches of 16 rows; a shard is 8 rows of 16 in bf16, and the other rank gets it.
  const double gather = 8 * 16 * 2, micro_batches = 4;
  EXPECT_EQ(bytes_of(input, 4, Axis::tp, "embedding"), micro_batches * 2 * gather);
  EXPECT_EQ(bytes_of(input, 4, Axis::tp, "attention"), micro_batches * 2 * 5 * gather);
  EXPECT_EQ(bytes_of(input, 4, Axis::tp, "feed-forward"), micro_batches * 2 * 5 * gather);
  EXPECT_EQ(bytes_of(input, 4, Axis::tp, "loss"), micro_batches * (2 * gather + 16 * 4 + 32 * 4));
  // The norms, of 16 elements each, with the gaps between them.
  EXPECT_EQ(bytes_of(input, 4, Axis::tp, "shared parameters", Moved::gradients), (4 * 64 + 16) * 4);
  input.parallel.recompute = config::Recompute::full;
  EXPECT_EQ(bytes_of(input, 4, Axis::tp, "attention"), micro_batches * 2 * 7 * gather);
  input.parallel.recompute = config::Recompute::selective;
  EXPECT_EQ(bytes_of(input, 4, Axis::tp, "attention"), micro_batches * 2 * 5 * gather);
  input.parallel.dtype = config::Precision::fp64;
  EXPECT_EQ(bytes_of(input, 4, Axis::tp, "loss"), micro_batches * (2 * 4 * gather + 16 * 8 + 32 * 8));
  EXPECT_EQ(bytes_of(input, 4, Axis::tp, "shared parameters", Moved::gradients), (4 * 64 + 16) * 8);
}

TEST(Traffic, OfKeyValueHeadsThatSeveralRanksHold) {
  ForecastInput input = tiny(false);
  input.parallel.tp = 4;  // twice the key-value heads
  // Each rank holds one head of 4 x 16 for k and for v in both layers, and so does one other; norms are on all four.
  EXPECT_EQ(bytes_of(input, 4, Axis::tp, "shared parameters", Moved::gradients),
            2 * (2 * 4 * 16) * 4 + 2.0 * 3 / 4 * (4 * 64 + 16) * 4);
  const RankShare share = share_of_rank(input.model, build_mesh(4, input.model, input.parallel, input.data));
  ASSERT_EQ(share.replicated.size(), 3u);
  EXPECT_EQ(share.replicated[0].replicas, 2);
  EXPECT_EQ(share.replicated[0].size, 2 * 4 * 16);
  EXPECT_EQ(share.replicated[2].replicas, 4);
}

TEST(Traffic, OfRouterLossesIsOneSumAMicroBatch) {
  ForecastInput input = tiny(true);
  input.parallel.tp = 2;
  const auto bytes = [&](config::AuxLoss aux, double z) {
    input.router.aux_loss = aux, input.router.z_coefficient = z;
    return bytes_of(input, 2, Axis::tp, "router losses");
  };
  const double micro_batches = 8;
  EXPECT_EQ(bytes(config::AuxLoss::hf, 0), micro_batches * 2 * 4 * 4);
  EXPECT_EQ(bytes(config::AuxLoss::hf, 1), micro_batches * (2 * 4 + 1) * 4);
  EXPECT_EQ(bytes(config::AuxLoss::megatron, 0), micro_batches * 2 * 2 * 4 * 4);
  EXPECT_EQ(bytes(config::AuxLoss::off, 1), micro_batches * 4);
  EXPECT_EQ(bytes(config::AuxLoss::off, 0), 0);
}

TEST(Traffic, OfExperts) {
  ForecastInput input = tiny(true);
  input.parallel.ep = 4;
  // 16 rows to two experts each, three of four leave; 2 layers, dp = 4, so 2 micro-batches.
  const double layers = 2, micro_batches = 2, leave = 3.0 / 4, routed = 16 * 2;
  EXPECT_EQ(bytes_of(input, 4, Axis::ep, "rows"), micro_batches * layers * 4 * leave * routed * 16 * 2);
  EXPECT_EQ(bytes_of(input, 4, Axis::ep, "routed weights"), micro_batches * layers * 2 * leave * routed * 4);
  EXPECT_EQ(bytes_of(input, 4, Axis::ep, "counts"), micro_batches * layers * leave * 4 * 8);
  EXPECT_EQ(bytes_of(input, 4, Axis::tp, "feed-forward"), 0);
  input.parallel.recompute = config::Recompute::full;
  EXPECT_EQ(bytes_of(input, 4, Axis::ep, "rows"), micro_batches * layers * 6 * leave * routed * 16 * 2);
  EXPECT_EQ(bytes_of(input, 4, Axis::ep, "routed weights"), micro_batches * layers * 3 * leave * routed * 4);
  EXPECT_EQ(bytes_of(input, 4, Axis::ep, "counts"), micro_batches * layers * 2 * leave * 4 * 8);
  input.parallel.recompute = config::Recompute::none;
  input.parallel.tp = 2;  // each rank routes half of the rows, twice as many micro-batches
  EXPECT_EQ(bytes_of(input, 4, Axis::ep, "rows"), 4 * layers * 4 * leave * routed / 2 * 16 * 2);
  EXPECT_EQ(bytes_of(input, 4, Axis::tp, "feed-forward"), 0);
  EXPECT_GT(bytes_of(input, 4, Axis::tp, "attention"), 0);
}

TEST(Traffic, OfReplicasOnceAStep) {
  ForecastInput input = tiny(true);
  input.parallel.ep = 2;
  const Mesh mesh = build_mesh(4, input.model, input.parallel, input.data);
  const RankShare share = share_of_rank(input.model, mesh);
  EXPECT_EQ(share.experts, 2 * 2 * 3 * 16 * 12);  // as it is, a multiple of 2 * 64
  EXPECT_EQ(share.dense % (4 * 64), 0);
  const auto dense = static_cast<double>(share.dense), experts = static_cast<double>(share.experts);
  EXPECT_EQ(bytes_of(input, 4, Axis::dp, "dense", Moved::gradients), 3 * dense / 4 * 4);
  EXPECT_EQ(bytes_of(input, 4, Axis::dp, "dense", Moved::weights), 3 * dense / 4 * 2);
  EXPECT_EQ(bytes_of(input, 4, Axis::edp, "experts", Moved::gradients), 1 * experts / 2 * 4);
  EXPECT_EQ(bytes_of(input, 4, Axis::edp, "experts", Moved::weights), 1 * experts / 2 * 2);
  const auto traffic = traffic_of_step(input, mesh);
  EXPECT_EQ(traffic_bytes(traffic, Axis::edp), experts / 2 * 6);
  EXPECT_EQ(traffic_bytes(traffic, Axis::tp), 0);
  EXPECT_TRUE(traffic_of_step(tiny(true), build_mesh(1, input.model, {}, input.data)).empty());
}

}  // namespace
}  // namespace osler::plan
