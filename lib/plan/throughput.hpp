// What a token costs and what a device gives: model FLOPs per token and peak FLOP/s. Pure arithmetic.
#pragma once

#include <cstdint>
#include <string>

#include "config/model_config.hpp"
#include "config/options.hpp"

namespace osler::plan {

/// FLOPs of one token, forward and backward, recomputation not counted: 6 per parameter that a matrix product uses for
/// it (active ones, less the embedding look-up), and 12 * num_heads * head_dim * keys per layer for attention, where
/// keys is the mean number a query sees: half the sequence, less where a sliding window is shorter.
/// Source: Chowdhery et al. 2022 (PaLM), appendix B, with the causal half.
double flops_per_token(const config::ModelConfig& config, std::int64_t sequence_length);

/// Dense matrix peak of one device in FLOP/s from its data sheet (SXM), without TF32 and sparsity; 0 for "cpu", whose
/// peak nobody states. Throws ConfigError on an unknown name.
double peak_flops(const std::string& gpu, config::Precision precision);

/// Device memory that a process can allocate, bytes; 0 for "cpu".
double device_memory_bytes(const std::string& gpu);

}  // namespace osler::plan
