// Which layouts fit, and which of them is fastest by the forecast.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "plan/forecast.hpp"

namespace osler::plan {

struct Candidate {
  Mesh mesh;
  std::int64_t micro_batch = 1;
  config::Recompute recompute = config::Recompute::none;
  double memory_bytes = 0;
  double step_s = 0;
  double tokens_per_s = 0;
};

/// Whether memory and peak of the device are known.
bool can_search(const ForecastInput& input);

/// Every tp, ep, micro-batch (powers of two up to 16) and recompute that divides for `world_size` ranks and fits the
/// device, fastest first; of equally fast ones the one with less memory. Global batch and sequence length stay as they
/// are. Empty where nothing fits. Throws ConfigError for a device whose peak or memory is unknown.
std::vector<Candidate> search_layouts(const ForecastInput& input, std::int64_t world_size);

/// The layouts on the fewest ranks that fit at all, fastest first: world sizes are the powers of two up to
/// `most_ranks`.
std::vector<Candidate> smallest_layouts(const ForecastInput& input, std::int64_t most_ranks);

}  // namespace osler::plan
