// What a table says of a mean: value, standard error and interval. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace osler::eval {

struct Estimate {
  double value = 0;
  std::optional<double> std_error;  ///< sample standard deviation / sqrt(n), n - 1 in the deviation; none for n = 1
  double low = 0;                   ///< 95 % Wilson score interval of a proportion
  double high = 0;
  std::int64_t n = 0;
};

/// The mean of values in [0, 1]. Source: lm_eval/api/metrics.py mean_stderr; Wilson 1927 for the interval.
Estimate estimate_mean(const std::vector<double>& values);

/// Mean over groups weighted by their sizes, with the pooled standard error. Source: lm_eval/api/metrics.py
/// aggregate_subtask_metrics, pooled_sample_stderr.
Estimate pool(const std::vector<Estimate>& members);

}  // namespace osler::eval
