#include "plan/forecast.hpp"

#include "plan/throughput.hpp"

namespace osler::plan {
namespace {

// OpenSSL's SHA-256 on one core with SHA extensions: `openssl speed -evp sha256` gave 2.0 GB/s where we tried it.
constexpr double kHashRate = 2.0e9;

}  // namespace

std::int64_t checkpoint_bytes(const config::ModelConfig& model, config::Precision precision) {
  return count_parameters(model).total * static_cast<std::int64_t>(3 * accumulation_width_of(precision));
}

double save_seconds(std::int64_t bytes, std::int64_t num_ranks, double storage_bytes_per_s) {
  const auto whole = static_cast<double>(bytes);
  return whole / storage_bytes_per_s + whole / static_cast<double>(num_ranks) / kHashRate;
}

Forecast compute_forecast(const ForecastInput& input, const Mesh& mesh) {
  Forecast forecast;
  forecast.parameters = count_parameters(input.model);
  forecast.shards = shard_table(input.model, mesh);
  for (const ShardRow& row : forecast.shards) forecast.rank_parameters += row.rank_parameters;
  forecast.memory = memory_of_rank(input, mesh);
  forecast.memory_bytes = total_bytes(forecast.memory);
  forecast.device_bytes = device_memory_bytes(input.cluster.gpu);
  if (mesh.ep > 1 && forecast.device_bytes > 0)
    forecast.largest_imbalance = largest_imbalance(input, mesh, forecast.device_bytes);
  forecast.traffic = traffic_of_step(input, mesh);
  forecast.tokens_per_step = input.data.global_batch * input.data.sequence_length;
  forecast.run_tokens = input.run.steps * forecast.tokens_per_step;
  forecast.checkpoint_bytes = checkpoint_bytes(input.model, input.parallel.dtype);
  forecast.save_s = save_seconds(forecast.checkpoint_bytes, mesh.world, input.cluster.storage_gbytes_per_s * 1e9);
  forecast.flops_per_token = flops_per_token(input.model, input.data.sequence_length);
  forecast.step = time_of_step(input, mesh);
  if (forecast.step.total_s() > 0)
    forecast.flop_utilisation = forecast.flops_per_token * static_cast<double>(forecast.tokens_per_step) /
                                (forecast.step.total_s() * static_cast<double>(mesh.world) *
                                 peak_flops(input.cluster.gpu, input.parallel.dtype));
  return forecast;
}

}  // namespace osler::plan
