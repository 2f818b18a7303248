// What a run will need before it starts: memory of a rank, traffic, tokens, checkpoints and time. Pure arithmetic over
// the options; every formula stands beside its number.
#pragma once

#include <cstdint>
#include <vector>

#include "plan/forecast_input.hpp"
#include "plan/memory.hpp"
#include "plan/mesh.hpp"
#include "plan/parameter_specs.hpp"
#include "plan/shard_table.hpp"
#include "plan/step_time.hpp"
#include "plan/traffic.hpp"

namespace osler::plan {

struct Forecast {
  ParameterCount parameters;
  std::vector<ShardRow> shards;
  std::int64_t rank_parameters = 0;  ///< held by one rank
  std::vector<MemoryItem> memory;    ///< of one rank
  double memory_bytes = 0;           ///< their sum
  double device_bytes = 0;           ///< 0 where unknown (cpu)
  double largest_imbalance = 0;      ///< of experts over ep that still fits; 0 where nothing fits or it is unknown
  std::vector<TrafficItem> traffic;  ///< sent by one rank in a step
  std::int64_t tokens_per_step = 0;
  std::int64_t run_tokens = 0;        ///< run.steps * tokens_per_step
  std::int64_t checkpoint_bytes = 0;  ///< one checkpoint
  double save_s = 0;                  ///< of one checkpoint, training waiting
  double flops_per_token = 0;
  StepTime step;                ///< zero where the device's peak is unknown
  double flop_utilisation = 0;  ///< flops_per_token at the forecast's speed over the peak ("mfu")
  bool fits() const { return device_bytes == 0 || memory_bytes <= device_bytes; }
};

Forecast compute_forecast(const ForecastInput& input, const Mesh& mesh);

/// Bytes of one checkpoint: master (fp64 runs: weight) and two moments of every parameter; weights are not stored
/// twice.
std::int64_t checkpoint_bytes(const config::ModelConfig& model, config::Precision precision);

/// Seconds to save one: every rank sums (SHA-256) and writes its share, all into one file system.
double save_seconds(std::int64_t bytes, std::int64_t num_ranks, double storage_bytes_per_s);

}  // namespace osler::plan
