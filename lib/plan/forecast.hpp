// What a run will need before it starts: memory of a rank, tokens, checkpoint size, FLOPs and a first estimate of time.
// Pure arithmetic over the options; every formula stands beside its number.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/model_config.hpp"
#include "config/options.hpp"
#include "plan/mesh.hpp"
#include "plan/parameter_specs.hpp"

namespace osler::plan {

struct MemoryItem {
  std::string what;
  double num_bytes = 0;
  std::string formula;
};

/// How parameters of one kind are cut: matrices of attention, feed-forward, embedding and head over tp, experts over
/// ep, norms and routers not at all.
enum class Cut { none, tensor, experts };
struct ShardRow {
  std::string what;
  Cut cut = Cut::none;
  std::int64_t parameters = 0;       ///< in the model
  std::int64_t rank_parameters = 0;  ///< held by one rank, with their gradients
  std::int64_t rank_optimizer = 0;   ///< whose masters and moments one rank holds: cut again over dp or edp
};
std::vector<ShardRow> shard_table(const config::ModelConfig& model, const Mesh& mesh);

struct Forecast {
  ParameterCount parameters;
  std::vector<ShardRow> shards;
  std::int64_t rank_parameters = 0;  ///< held by one rank
  std::vector<MemoryItem> memory;    ///< of one rank; experts evenly loaded
  double memory_bytes = 0;           ///< their sum
  double device_bytes = 0;           ///< 0 where unknown (cpu)
  std::int64_t tokens_per_step = 0;
  std::int64_t run_tokens = 0;        ///< run.steps * tokens_per_step
  std::int64_t checkpoint_bytes = 0;  ///< one checkpoint
  double flops_per_token = 0;
  double efficiency = 0;  ///< assumed share of the peak
  std::string efficiency_source;
  double compute_s = 0;        ///< of a step; 0 where the device's peak is unknown
  double communication_s = 0;  ///< of a step, if nothing overlapped
  double step_s() const { return compute_s + communication_s; }
};

struct ForecastInput {
  config::ModelConfig model;
  config::RunOptions run;
  config::DataOptions data;
  config::ParallelOptions parallel;
  config::ClusterOptions cluster;
};
Forecast compute_forecast(const ForecastInput& input, const Mesh& mesh);

/// Bytes of one checkpoint: master (fp64 runs: weight) and two moments of every parameter; weights are not stored
/// twice.
std::int64_t checkpoint_bytes(const config::ModelConfig& model, config::Precision precision);

}  // namespace osler::plan
