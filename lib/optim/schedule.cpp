#include <algorithm>
#include <cmath>
#include <numbers>

#include "optim/adamw.hpp"

namespace osler::optim {
namespace {

/// From learning_rate at 0 to min_learning_rate at 1, in a straight line.
double linear_at(const config::OptimOptions& options, double progress) {
  return options.learning_rate + (options.min_learning_rate - options.learning_rate) * std::clamp(progress, 0.0, 1.0);
}

}  // namespace

double learning_rate_at(const config::OptimOptions& options, std::int64_t step, std::int64_t total_steps) {
  if (step <= options.warmup_steps) {
    return options.learning_rate * static_cast<double>(step) / static_cast<double>(options.warmup_steps);
  }
  const auto since_warmup = static_cast<double>(step - options.warmup_steps);
  const auto after_warmup = static_cast<double>(std::max<std::int64_t>(1, total_steps - options.warmup_steps));
  switch (options.schedule) {
    case config::Schedule::constant:
      return options.learning_rate;
    case config::Schedule::linear:
      return linear_at(options, since_warmup / after_warmup);
    case config::Schedule::cosine: {
      const double progress = std::clamp(since_warmup / after_warmup, 0.0, 1.0);
      return linear_at(options, 0.5 * (1 - std::cos(std::numbers::pi * progress)));
    }
    case config::Schedule::wsd: {
      const auto decay_steps =
          std::max<std::int64_t>(1, std::llround(options.decay_fraction * static_cast<double>(total_steps)));
      const std::int64_t decay_start = total_steps - decay_steps;
      return linear_at(options, static_cast<double>(step - decay_start) / static_cast<double>(decay_steps));
    }
  }
  return options.learning_rate;
}

}  // namespace osler::optim
