#include "train/throughput.hpp"

#include <c10/core/CachingDeviceAllocator.h>
#include <sys/resource.h>

#include <algorithm>

#include "plan/parameter_specs.hpp"

namespace osler::train {

double flops_per_token(const config::ModelConfig& config, std::int64_t sequence_length) {
  const auto active = static_cast<double>(plan::count_parameters(config).active);
  // The embedding is a look-up, not a product; a tied one is used as the head and counts once.
  const double embedding = config.tie_word_embeddings ? 0.0 : static_cast<double>(config.vocab_size * config.hidden_size);
  const double context = std::min(static_cast<double>(sequence_length) / 2,
                                  static_cast<double>(config.sliding_window.value_or(sequence_length)));
  const auto attention_size = static_cast<double>(config.num_layers * config.num_heads * config.head_dim);
  return 6 * (active - embedding) + 12 * attention_size * context;
}

std::optional<double> peak_flops_per_s(const std::string& gpu, config::Precision precision, c10::Device device) {
  if (device.is_cpu()) return std::nullopt;
  const bool is_a100 = gpu == "a100";  // h100 and h200 are the same chip
  switch (precision) {
    case config::Precision::bf16: return is_a100 ? 312e12 : 989.4e12;
    case config::Precision::fp32: return is_a100 ? 19.5e12 : 66.9e12;  // without TF32
    case config::Precision::fp64: return is_a100 ? 19.5e12 : 66.9e12;  // tensor cores
  }
  return std::nullopt;
}

std::int64_t peak_memory_bytes(c10::Device device) {
  if (!device.is_cpu()) return c10::getDeviceAllocator(device.type())->getDeviceStats(device.index()).allocated_bytes[0].peak;
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::int64_t>(usage.ru_maxrss) * 1024;  // Linux counts in KiB
}

}  // namespace osler::train
