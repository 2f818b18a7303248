// Mistral and Mixtral: from token ids to last hidden states, as equations over parallel layers. Knows no ranks.
// Source: transformers' modeling_mistral.py and modeling_mixtral.py (v5), which parity tests compare with in fp64.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "comm/mesh_groups.hpp"
#include "config/model_config.hpp"
#include "config/options.hpp"
#include "model/attention_layout.hpp"
#include "parallel/parameter.hpp"

namespace osler::model {

/// What the router of every layer decided, kept for the router losses and the load metrics.
struct RouterOutput {
  std::vector<at::Tensor>
      logits_RE;  ///< of this member's rows, per layer, fp32 (fp64 in fp64 models), part of the autograd graph
  std::vector<at::Tensor> expert_RK;  ///< per layer, int64: the experts chosen
};

struct ModelOutput {
  at::Tensor hidden_RD;  ///< after the final norm, model dtype: this member's rows, [R/tp, D]
  RouterOutput router;   ///< empty for Mistral
};

class Model {
 public:
  /// Keeps references to `parameters` and `groups`, which outlive the model. The store holds this member's part of
  /// every parameter (plan::parameter_specs_of_rank).
  Model(const config::ModelConfig& config, parallel::ParameterStore& parameters, config::Recompute recompute,
        const comm::MeshGroups& groups = comm::single());
  ~Model();

  /// tokens_R, positions_R: int64 [R] on the model's device, the same for all of tp; layout on the host. R is divisible
  /// by tp; what comes out are this member's R/tp rows. *Collective over tp and ep*, and again in backward.
  /// With gradients enabled, backward() adds into the store's grad buffer; parameters themselves carry no autograd
  /// state. embedding_noise_RD (model dtype, no gradient, all R rows): added to the embeddings; for NEFTune. The noise
  /// does not outlive the pass. on_layer_done(i), where given, is called in backward as soon as every gradient of
  /// layer i's matrices is complete.
  ModelOutput forward(const at::Tensor& tokens_R, const at::Tensor& positions_R, const AttentionLayout& layout,
                      const at::Tensor& embedding_noise_RD = {},
                      const std::function<void(std::int64_t layer)>& on_layer_done = {});

  const config::ModelConfig& config() const { return config_; }
  /// [V, D]: the output head (or the tied embedding), for the loss and for scoring.
  parallel::Parameter head() const;
  const comm::MeshGroups& groups() const { return groups_; }
  /// Room for `num_slots` tokens of this member's key and value heads.
  KeyValueCache make_cache(std::int64_t num_slots) const;

 private:
  struct Layers;
  config::ModelConfig config_;
  parallel::ParameterStore& parameters_;
  const comm::MeshGroups& groups_;
  config::Recompute recompute_;
  std::unique_ptr<Layers> layers_;
};

/// Random initialisation N(0, initializer_range), norms 1: keyed by (seed, parameter name, row) and drawn along the
/// row, so that it is the same under every layout.
void initialize(parallel::ParameterStore& parameters, const config::ModelConfig& config, std::uint64_t seed);

}  // namespace osler::model
