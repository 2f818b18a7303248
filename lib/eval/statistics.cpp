#include "eval/statistics.hpp"

#include <algorithm>
#include <cmath>

#include "base/error.hpp"

namespace osler::eval {

namespace {

constexpr double kNormal975 = 1.959963984540054;  // 97.5 % point of the normal distribution

void set_wilson_interval(Estimate& estimate) {
  const auto n = static_cast<double>(estimate.n);
  const double z2 = kNormal975 * kNormal975;
  const double p = estimate.value;
  const double centre = (p + z2 / (2 * n)) / (1 + z2 / n);
  const double half = kNormal975 / (1 + z2 / n) * std::sqrt(p * (1 - p) / n + z2 / (4 * n * n));
  estimate.low = std::max(0.0, centre - half);
  estimate.high = std::min(1.0, centre + half);
}

}  // namespace

Estimate estimate_mean(const std::vector<double>& values) {
  OSLER_CHECK(!values.empty());
  Estimate estimate;
  estimate.n = static_cast<std::int64_t>(values.size());
  const auto n = static_cast<double>(values.size());
  double sum = 0;
  for (const double value : values) sum += value;
  estimate.value = sum / n;
  if (values.size() > 1) {
    double squares = 0;
    for (const double value : values) squares += (value - estimate.value) * (value - estimate.value);
    estimate.std_error = std::sqrt(squares / (n - 1)) / std::sqrt(n);
  }
  set_wilson_interval(estimate);
  return estimate;
}

Estimate pool(const std::vector<Estimate>& members) {
  OSLER_CHECK(!members.empty());
  Estimate pooled;
  double weighted = 0;
  double squares = 0;
  bool has_errors = true;
  for (const Estimate& member : members) {
    const auto n = static_cast<double>(member.n);
    pooled.n += member.n;
    weighted += member.value * n;
    has_errors = has_errors && member.std_error.has_value();
    if (member.std_error) squares += (n - 1) * *member.std_error * *member.std_error * n;
  }
  const auto n = static_cast<double>(pooled.n);
  pooled.value = weighted / n;
  if (has_errors) pooled.std_error = std::sqrt(squares / (n - static_cast<double>(members.size())) / n);
  set_wilson_interval(pooled);
  return pooled;
}

}  // namespace osler::eval
