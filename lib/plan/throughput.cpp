#include "plan/throughput.hpp"

#include <algorithm>
#include <array>

#include "base/error.hpp"
#include "plan/parameter_specs.hpp"

namespace osler::plan {
namespace {

constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;

struct Device {
  const char* name;
  double bf16, fp32,
      fp64;             // FLOP/s; NVIDIA data sheets: H100/H200 SXM, A100 SXM. fp64 on tensor cores, fp32 beside them
  double memory_bytes;  // what the driver leaves of 80, 141 and 80 GB
};
constexpr std::array kDevices{
    Device{"h100", 989.4e12, 66.9e12, 66.9e12, 79 * kGiB},
    Device{"h200", 989.4e12, 66.9e12, 66.9e12, 139 * kGiB},
    Device{"a100", 312e12, 19.5e12, 19.5e12, 79 * kGiB},
    Device{"cpu", 0, 0, 0, 0},
};

const Device& device_named(const std::string& gpu) {
  const auto found =
      std::find_if(kDevices.begin(), kDevices.end(), [&](const Device& device) { return gpu == device.name; });
  if (found == kDevices.end())
    throw ConfigError("cluster.gpu: '", gpu, "' is unknown; known are h100, h200, a100, cpu");
  return *found;
}

}  // namespace

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
  const Device& device = device_named(gpu);
  switch (precision) {
    case config::Precision::bf16:
      return device.bf16;
    case config::Precision::fp32:
      return device.fp32;
    case config::Precision::fp64:
      return device.fp64;
  }
  throw InternalError("a precision without a peak");
}

double device_memory_bytes(const std::string& gpu) {
  return device_named(gpu).memory_bytes;
}

}  // namespace osler::plan
