// How the ranks of a run are laid out: world = dp x tp for dense parameters, the same world = edp x ep for experts.
// Pure arithmetic. Numbers that do not divide are refused with the nearest that do; nothing is adjusted.
#pragma once

#include <cstdint>

#include "config/model_config.hpp"
#include "config/options.hpp"

namespace osler::plan {

struct Mesh {
  std::int64_t world = 1;
  std::int64_t tp = 1;
  std::int64_t dp = 1;  ///< world / tp
  std::int64_t ep = 1;
  std::int64_t edp = 1;                 ///< world / ep
  std::int64_t accumulation_steps = 1;  ///< micro-batches of one rank in one optimizer step
};

/// Throws ConfigError with every number that does not fit, one a line.
Mesh build_mesh(std::int64_t world_size, const config::ModelConfig& model, const config::ParallelOptions& parallel,
                const config::DataOptions& data);

}  // namespace osler::plan
