// Bytes that one rank sends to other ranks in a collective, and how long a ring takes. Pure arithmetic.
#pragma once

#include <cstdint>

#include "plan/device.hpp"

namespace osler::plan {

/// What a reduction over MPI receives from all peers in one round: small enough to be added while still in cache.
constexpr std::int64_t kInboxBytes = std::int64_t{4} << 20;

/// n ranks, each with a shard of `shard_bytes`: every rank sends a shard n - 1 times. A reduce-scatter sends the same.
double gather_bytes(std::int64_t num_ranks, double shard_bytes);
/// A reduce-scatter and an all-gather of an even split of `count` elements: the others' parts are sent to be summed,
/// the own sum n - 1 times: bytes + (n - 2) * own, which is 2 (n - 1) / n of the bytes if n divides count. The first
/// ranks have the larger parts.
double all_reduce_bytes(std::int64_t num_ranks, std::int64_t count, double width, std::int64_t rank = 0);
/// Rows that leave when every rank keeps one n-th of its `bytes`.
double all_to_all_bytes(std::int64_t num_ranks, double bytes);

/// Where a group lies: `num_ranks` ranks, each `stride` behind the one before it.
struct GroupPlace {
  std::int64_t num_ranks = 1;
  std::int64_t stride = 1;
};

/// Seconds of `calls` ring collectives that together send `bytes` from one rank. A ring through several nodes enters
/// and leaves each over the links of all its members there, so its rate is that of NVLink or of those links, whichever
/// is less. Source of the latencies: NCCL, src/graph/tuning.cc (ring, simple protocol).
double ring_seconds(const Rates& rates, GroupPlace place, double bytes, double calls);
/// Seconds of `calls` all-to-alls that together send `bytes`: the part for other nodes goes over the rank's own link.
double exchange_seconds(const Rates& rates, GroupPlace place, double bytes, double calls);

}  // namespace osler::plan
