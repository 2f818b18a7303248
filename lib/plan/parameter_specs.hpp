// The parameters of a model under their published names, in the order in which they lie in memory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/model_config.hpp"

namespace osler::plan {

struct ParameterSpec {
  std::string name;  ///< e.g. "model.layers.0.self_attn.q_proj.weight"
  std::vector<std::int64_t> shape;
  bool decay = true;  ///< weight decay applies (matrices); norm weights: no
  bool joins_previous =
      false;  ///< no alignment gap before it: it reads the same input as the one before (k, v, up, ...)
};

/// model.embed_tokens; then per layer q, k, v, o, then gate, up, down (Mixtral: block_sparse_moe.gate, then w1, w3 of
/// expert 0, w1, w3 of expert 1, ..., then w2 of every expert); lm_head unless tied; last all norm weights (no decay).
/// What reads the same input lies side by side, so that it runs as one GEMM (parallel/parameter.hpp).
std::vector<ParameterSpec> parameter_specs(const config::ModelConfig& config);

struct ParameterCount {
  std::int64_t total = 0;
  std::int64_t active = 0;  ///< used by one token: top_k of the experts
};
ParameterCount count_parameters(const config::ModelConfig& config);

}  // namespace osler::plan
