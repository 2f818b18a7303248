// Kinds of device and what they attain. Every figure is set once for a kind, with its source, and none for a model.
#pragma once

#include <cstdint>
#include <string>

#include "config/options.hpp"

namespace osler::plan {

struct Device {
  const char* name;
  double bf16, fp32, fp64;   ///< dense matrix peak, FLOP/s, without TF32 and sparsity; 0 where nobody states it
  double memory_bytes;       ///< what the driver leaves to a process
  double memory_rate;        ///< peak of the device memory, bytes/s
  double nvlink_rate;        ///< attained by one rank of a ring inside a node, bytes/s sent
  double gemm_efficiency;    ///< best share of the matrix peak that any GEMM shape attains
  double attention_rate;     ///< FLOP/s of fused causal attention in 16 bits, forward and backward together
  std::int64_t num_sms;      ///< streaming multiprocessors: output tiles of a GEMM that run at a time
  double step_over_kernels;  ///< time of a layer over the sum of its modelled kernels: gaps, casts, clocks under load
};
/// Throws ConfigError on an unknown name.
const Device& device_named(const std::string& gpu);

/// What one device of a cluster attains: its kind's figures where the options leave them at 0.
struct Rates {
  double peak = 0;             ///< FLOP/s in the run's precision
  double gemm_efficiency = 0;  ///< of the peak
  double attention = 0;        ///< FLOP/s
  double memory = 0;           ///< bytes/s, attained
  double nvlink = 0;           ///< bytes/s a rank sends inside a node, attained
  double network = 0;          ///< bytes/s a rank sends to other nodes, attained
  double storage = 0;          ///< bytes/s all ranks write together
  std::int64_t num_sms = 0;
  double step_over_kernels = 1;
  std::int64_t gpus_per_node = 1;
  bool knows_device() const { return peak > 0; }
};
Rates rates_of(const config::ClusterOptions& cluster, config::Precision precision);

}  // namespace osler::plan
