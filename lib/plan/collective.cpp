#include "plan/collective.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "plan/piece.hpp"

namespace osler::plan {
namespace {

// Start of a collective: NCCL, src/graph/tuning.cc (ring, simple protocol).
constexpr double kCallLatency = 8.4e-6;
// Each of the n - 1 steps of a ring beyond its bytes. From all-reduces of 16 MiB to 1 GiB over 8 and 32 ranks
// (ml-engineering, network/README.md, "Inter-node speed depends on intra-node speed"): 155 us for 14 steps, 480 us
// for 62.
constexpr double kStepLatency = 10e-6;

/// Members of the group on one node, and nodes that it touches.
struct Spread {
  std::int64_t on_node = 1;
  std::int64_t nodes = 1;
};
Spread spread_of(std::int64_t gpus_per_node, GroupPlace place) {
  Spread spread;
  spread.on_node = std::clamp<std::int64_t>(gpus_per_node / place.stride, 1, place.num_ranks);
  spread.nodes = (place.num_ranks + spread.on_node - 1) / spread.on_node;
  return spread;
}

}  // namespace

double gather_bytes(std::int64_t num_ranks, double shard_bytes) {
  return static_cast<double>(num_ranks - 1) * shard_bytes;
}

double all_reduce_bytes(std::int64_t num_ranks, std::int64_t count, double width, std::int64_t rank) {
  if (num_ranks == 1) return 0;
  const auto own = static_cast<double>(split_range(count, num_ranks, rank).size());
  return (static_cast<double>(count) + static_cast<double>(num_ranks - 2) * own) * width;
}

double all_to_all_bytes(std::int64_t num_ranks, double bytes) {
  return bytes * static_cast<double>(num_ranks - 1) / static_cast<double>(num_ranks);
}

double ring_seconds(const Rates& rates, GroupPlace place, double bytes, double calls) {
  if (place.num_ranks == 1) return 0;
  const Spread spread = spread_of(rates.gpus_per_node, place);
  const double rate =
      spread.nodes == 1 ? rates.nvlink : std::min(rates.nvlink, static_cast<double>(spread.on_node) * rates.network);
  const double latency = kCallLatency + static_cast<double>(place.num_ranks - 1) * kStepLatency;
  return bytes / rate + calls * latency;
}

double exchange_seconds(const Rates& rates, GroupPlace place, double bytes, double calls) {
  if (place.num_ranks == 1) return 0;
  const Spread spread = spread_of(rates.gpus_per_node, place);
  const double away = static_cast<double>(place.num_ranks - spread.on_node) / static_cast<double>(place.num_ranks - 1);
  const double transfer = std::max((1 - away) * bytes / rates.nvlink, away * bytes / rates.network);
  return transfer + calls * (kCallLatency + kStepLatency);
}

}  // namespace osler::plan
