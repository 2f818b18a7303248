// How fast and how large: model FLOP/s against the device's peak, and the most memory this process has held. Local.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <optional>
#include <string>

#include "config/model_config.hpp"
#include "config/options.hpp"

namespace osler::train {

/// FLOPs of one token, forward and backward, recomputation not counted: 6 per active parameter in a matrix, and
/// 12 * num_heads * head_dim * context per layer for attention scores and values, context being half the sequence
/// (causal) or the window where that is shorter.
/// Source: Chowdhery et al. 2022 (PaLM), appendix B, with the causal half as in FlashAttention's figures.
double flops_per_token(const config::ModelConfig& config, std::int64_t sequence_length);

/// The device's dense matrix peak for what the model computes in (data sheets); nullopt on a CPU, whose peak nobody
/// states. `gpu` is cluster.gpu.
std::optional<double> peak_flops_per_s(const std::string& gpu, config::Precision precision, c10::Device device);

/// Highest number of bytes held so far: by the device's allocator, or by the process on a CPU.
std::int64_t peak_memory_bytes(c10::Device device);

}  // namespace osler::train
