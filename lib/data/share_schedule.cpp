#include "data/share_schedule.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.hpp"

namespace osler::data {
namespace {

__extension__ typedef __int128 Wide;  // products of two 33-bit numbers and 2k

// Deviations stay below one, so deficits stay below total_ in size; times 2k they must fit in 63 bits.
constexpr double kMaxTotal = 4294967296.0;

/// Decimal weights become exact integers (0.7 and 0.3: 7 and 3); others are rounded to one part in 2^32.
std::vector<std::int64_t> integer_parts(const std::vector<double>& weights) {
  double sum = 0;
  for (const double weight : weights) sum += weight;
  std::vector<std::int64_t> parts;
  for (double scale = 1; scale <= 1e6 && parts.empty() && sum * scale < kMaxTotal; scale *= 10) {
    for (const double weight : weights) {
      const double scaled = weight * scale;
      if (std::round(scaled) < 1 || std::abs(scaled - std::round(scaled)) > 1e-9 * scaled) {
        parts.clear();
        break;
      }
      parts.push_back(std::llround(scaled));
    }
  }
  if (parts.empty()) {
    for (const double weight : weights)
      parts.push_back(std::max<std::int64_t>(1, std::llround(weight / sum * kMaxTotal)));
  }
  std::int64_t divisor = 0;
  for (const std::int64_t part : parts) divisor = std::gcd(divisor, part);
  for (std::int64_t& part : parts) part /= divisor;
  return parts;
}

}  // namespace

ShareSchedule::ShareSchedule(const std::vector<double>& weights) {
  if (weights.empty()) throw ConfigError("data.source: at least one source is needed");
  for (const double weight : weights) {
    if (!(weight > 0) || !std::isfinite(weight))
      throw ConfigError("data.source: weight ", weight, " must be a number above 0");
  }
  parts_ = integer_parts(weights);
  total_ = std::accumulate(parts_.begin(), parts_.end(), std::int64_t{0});
  last_ = start();
}

ShareSchedule::State ShareSchedule::start() const {
  return {0, std::vector<std::int64_t>(parts_.size()), std::vector<std::int64_t>(parts_.size())};
}

std::int32_t ShareSchedule::advance(State& state) const {
  const auto num_sources = static_cast<std::int64_t>(parts_.size());
  const std::int64_t slack = 2 * num_sources - 2;
  std::size_t chosen = 0;
  bool found = num_sources == 1;
  // Among the sources whose share is ahead by at least 1/(2k-2), the one that would first be too far ahead.
  Wide best_room = 0;
  for (std::size_t i = 0; i < parts_.size() && num_sources > 1; ++i) {
    const std::int64_t ahead = state.deficits[i] + parts_[i];
    if (ahead * slack < total_) continue;
    const Wide room = static_cast<Wide>(total_) * (slack - 1) - static_cast<Wide>(ahead) * slack;
    if (!found || room * parts_[chosen] < best_room * parts_[i]) {
      found = true;
      chosen = i;
      best_room = room;
    }
  }
  OSLER_CHECK(found, "no source is ahead of its share");
  for (std::size_t i = 0; i < parts_.size(); ++i) state.deficits[i] += parts_[i];
  state.deficits[chosen] -= total_;
  ++state.counts[chosen];
  ++state.n;
  return static_cast<std::int32_t>(chosen);
}

ShareSchedule::State ShareSchedule::state_before(std::int64_t n_in_period) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (last_.n > n_in_period) last_ = start();
  while (last_.n < n_in_period) advance(last_);
  return last_;
}

std::vector<std::int64_t> ShareSchedule::counts_before(std::int64_t n) const {
  OSLER_CHECK(n >= 0, n);
  State state = state_before(n % total_);
  for (std::size_t i = 0; i < parts_.size(); ++i) state.counts[i] += (n / total_) * parts_[i];
  return state.counts;
}

std::vector<std::int32_t> ShareSchedule::choices(std::int64_t n, std::int64_t count) const {
  OSLER_CHECK(n >= 0 && count >= 0, n);
  State state = state_before(n % total_);
  std::vector<std::int32_t> chosen(static_cast<std::size_t>(count));
  for (std::int32_t& source : chosen) source = advance(state);
  return chosen;
}

}  // namespace osler::data
