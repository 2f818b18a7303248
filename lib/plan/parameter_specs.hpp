// The parameters of a model under their published names, in the order in which they lie in memory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/model_config.hpp"
#include "plan/mesh.hpp"

namespace osler::plan {

struct ParameterSpec {
  std::string name;                 ///< e.g. "model.layers.0.self_attn.q_proj.weight"
  std::vector<std::int64_t> shape;  ///< of the whole tensor
  bool decay = true;                ///< weight decay applies (matrices); norm weights: no
  bool joins_previous = false;      ///< no alignment gap before it: it reads the same input as the one before it
  std::int64_t layer =
      -1;  ///< decoder layer whose matrices it is one of, num_layers: an untied head; -1 = embedding, norm
  std::int64_t expert = -1;  ///< of that layer: laid out over edp x ep; -1 = dense, laid out over dp x tp
  // What one rank holds of it; the whole where nothing was cut.
  std::vector<std::int64_t> offset = std::vector<std::int64_t>(shape.size(), 0);
  std::vector<std::int64_t> extent = shape;
  std::int64_t replicas = 1;  ///< neighbouring tp ranks that hold the same part, each with a share of its gradient
  std::int64_t replica = 0;   ///< which of them; the first one's part is the one that is counted and saved
};

/// model.embed_tokens; then per layer q, k, v, o, then gate, up, down (Mixtral: block_sparse_moe.gate, then w1, w3 of
/// expert 0, w1, w3 of expert 1, ..., then w2 of every expert); lm_head unless tied; last all norm weights (no decay).
/// What reads the same input lies side by side, so that it runs as one GEMM (parallel/parameter.hpp).
std::vector<ParameterSpec> parameter_specs(const config::ModelConfig& config);

/// The same, as `rank` of `mesh` holds them: rows of q, k, v, gate, up, embedding and head and columns of o and down
/// cut over tp; key and value heads on several neighbours where tp exceeds them; experts dealt over ep in blocks (those
/// of other ranks are absent); norms and routers whole on all tp ranks. Source: Shoeybi et al. 2019 (Megatron-LM),
/// section 3; expert folding as in design.md, "Parallel layout".
std::vector<ParameterSpec> parameter_specs_of_rank(const config::ModelConfig& config, const Mesh& mesh,
                                                   std::int64_t rank);

struct ParameterCount {
  std::int64_t total = 0;
  std::int64_t active = 0;  ///< used by one token: top_k of the experts
};
ParameterCount count_parameters(const config::ModelConfig& config);

}  // namespace osler::plan
