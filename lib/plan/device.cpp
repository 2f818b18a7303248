#include "plan/device.hpp"

#include <algorithm>
#include <array>

#include "base/error.hpp"

namespace osler::plan {
namespace {

constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;

// Peaks and memory rates: NVIDIA data sheets of H100 SXM, H200 SXM and A100 SXM 80 GB; fp64 on tensor cores, fp32
// beside them. Memory: what the driver leaves of 80, 141 and 80 GB. NVLink: ring without SHARP on 8 H200, 365 GB/s
// (ml-engineering, network/README.md; H100 has the same NVLink 4); A100: NCCL's own bound of 235 GB/s (NCCL,
// src/graph/tuning.cc). GEMM: the best of all shapes, 794.5 of 989 and 271.2 of 312 TFLOP/s (ml-engineering,
// compute/accelerator/README.md). Attention: FlashAttention-2 (arXiv 2307.08691): 335 TFLOP/s on H100; on A100 73 % of
// the peak forward and 63 % backward. Step over kernels: set from one row for each kind and no other, MPT-7B on 8
// devices at sequence length 2048 (llm-foundry, scripts/train/benchmarking/README.md); docs/benchmarks/forecast.md has
// the others. H200: as H100.
constexpr std::array kDevices{
    Device{"h100", 989.4e12, 66.9e12, 66.9e12, 79 * kGiB, 3.35e12, 365e9, 0.803, 335e12, 132, 1.43},
    Device{"h200", 989.4e12, 66.9e12, 66.9e12, 139 * kGiB, 4.8e12, 365e9, 0.803, 335e12, 132, 1.43},
    Device{"a100", 312e12, 19.5e12, 19.5e12, 79 * kGiB, 2.039e12, 235e9, 0.869, 205e12, 108, 1.25},
    Device{"cpu", 0, 0, 0, 0, 0, 0, 0, 0, 1, 1.0},
};

// Streams of at least 100 MB attain 0.90 of the memory's peak (Calculon, systems/a100_80g.json).
constexpr double kMemoryShare = 0.90;
// Between nodes a ring over all 8 links of 50 GB/s attained 381.8 of 400 GB/s (ml-engineering, network/README.md).
constexpr double kNetworkShare = 0.95;

double peak_of(const Device& device, config::Precision precision) {
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

}  // namespace

const Device& device_named(const std::string& gpu) {
  const auto found =
      std::find_if(kDevices.begin(), kDevices.end(), [&](const Device& device) { return gpu == device.name; });
  if (found == kDevices.end())
    throw ConfigError("cluster.gpu: '", gpu, "' is unknown; known are h100, h200, a100, cpu");
  return *found;
}

Rates rates_of(const config::ClusterOptions& cluster, config::Precision precision) {
  const Device& device = device_named(cluster.gpu);
  Rates rates;
  rates.peak = peak_of(device, precision);
  rates.gemm_efficiency = cluster.gemm_efficiency > 0 ? cluster.gemm_efficiency : device.gemm_efficiency;
  // Attention is fused in 16 bits; in wider precisions it runs as GEMMs.
  rates.attention = precision == config::Precision::bf16 ? device.attention_rate : rates.peak * rates.gemm_efficiency;
  rates.memory =
      kMemoryShare * (cluster.memory_gbytes_per_s > 0 ? cluster.memory_gbytes_per_s * 1e9 : device.memory_rate);
  rates.nvlink = cluster.nvlink_gbytes_per_s > 0 ? cluster.nvlink_gbytes_per_s * 1e9 : device.nvlink_rate;
  rates.network = kNetworkShare * cluster.network_gbytes_per_s * 1e9;
  rates.storage = cluster.storage_gbytes_per_s * 1e9;
  rates.num_sms = device.num_sms;
  rates.step_over_kernels = device.step_over_kernels;
  rates.gpus_per_node = cluster.gpus_per_node;
  return rates;
}

}  // namespace osler::plan
