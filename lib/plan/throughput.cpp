#include "plan/throughput.hpp"

#include <algorithm>

#include "plan/device.hpp"
#include "plan/parameter_specs.hpp"

namespace osler::plan {

double flops_per_token(const config::ModelConfig& config, std::int64_t sequence_length) {
  const auto active = static_cast<double>(count_parameters(config).active);
  // A tied embedding is the head as well: its product is paid, its look-up is free.
  const double look_up = config.tie_word_embeddings ? 0.0 : static_cast<double>(config.vocab_size * config.hidden_size);
  const auto length = static_cast<double>(sequence_length);
  const double window = std::min(length, static_cast<double>(config.sliding_window.value_or(sequence_length)));
  const double keys = window - window * window / (2 * length);
  return 6 * (active - look_up) +
         12 * static_cast<double>(config.num_layers * config.num_heads * config.head_dim) * keys;
}

double peak_flops(const std::string& gpu, config::Precision precision) {
  config::ClusterOptions cluster;
  cluster.gpu = gpu;
  return rates_of(cluster, precision).peak;
}

double device_memory_bytes(const std::string& gpu) {
  return device_named(gpu).memory_bytes;
}

}  // namespace osler::plan
