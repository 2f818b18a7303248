// Which of several sources is next, so that at every n each source's count is within one of its share of n. Pure
// arithmetic in integers: equal weights give equal choices on every machine.
// Source: Tijdeman 1980, "The chairman assignment problem" (its rule keeps every deviation below 1 - 1/(2k - 2)).
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

namespace osler::data {

class ShareSchedule {
 public:
  /// Weights above 0; only their ratios count. Throws ConfigError otherwise.
  explicit ShareSchedule(const std::vector<double>& weights);

  /// How many of the first n choices fell on each source. Jumps over whole periods; what is left is replayed from the
  /// last call, so that rising n costs one step each.
  std::vector<std::int64_t> counts_before(std::int64_t n) const;
  /// The choices n, n + 1, ... n + count - 1.
  std::vector<std::int32_t> choices(std::int64_t n, std::int64_t count) const;
  /// After how many choices the sequence repeats.
  std::int64_t period() const { return total_; }

 private:
  /// After n choices: how many fell on each source, and by how much its share is ahead (in units of 1 / total).
  struct State {
    std::int64_t n = 0;
    std::vector<std::int64_t> counts;
    std::vector<std::int64_t> deficits;
  };
  std::int32_t advance(State& state) const;
  State state_before(std::int64_t n_in_period) const;
  State start() const;

  std::vector<std::int64_t> parts_;  // of total_, without a common divisor
  std::int64_t total_ = 0;
  mutable std::mutex mutex_;
  mutable State last_;
};

}  // namespace osler::data
