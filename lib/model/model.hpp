// Mistral and Mixtral: from token ids to last hidden states, as equations over parallel layers. Knows no ranks.
// Source: transformers' modeling_mistral.py and modeling_mixtral.py (v5), which parity tests compare with in fp64.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "config/model_config.hpp"
#include "config/options.hpp"
#include "model/attention_layout.hpp"
#include "parallel/parameter.hpp"

namespace osler::model {

/// What the router of every layer decided, kept for the router losses and the load metrics.
struct RouterOutput {
  std::vector<at::Tensor> logits_RE;  ///< per layer, fp32 (fp64 in fp64 models), part of the autograd graph
  std::vector<at::Tensor> expert_RK;  ///< per layer, int64: the experts chosen
};

struct ModelOutput {
  at::Tensor hidden_RD;  ///< after the final norm, model dtype
  RouterOutput router;   ///< empty for Mistral
};

class Model {
 public:
  /// Keeps a reference to `parameters`, which outlives the model.
  Model(const config::ModelConfig& config, parallel::ParameterStore& parameters, config::Recompute recompute);
  ~Model();

  /// tokens_R, positions_R: int64 [R] on the model's device; layout on the host.
  /// With gradients enabled, backward() adds into the store's grad buffer; parameters themselves carry no autograd
  /// state. embedding_noise_RD (model dtype, no gradient): added to the embeddings; for NEFTune. The noise does not
  /// outlive the pass.
  ModelOutput forward(const at::Tensor& tokens_R, const at::Tensor& positions_R, const AttentionLayout& layout,
                      const at::Tensor& embedding_noise_RD = {});

  const config::ModelConfig& config() const { return config_; }
  /// [V, D]: the output head (or the tied embedding), for the loss and for scoring.
  parallel::Parameter head() const;

 private:
  struct Layers;
  config::ModelConfig config_;
  parallel::ParameterStore& parameters_;
  config::Recompute recompute_;
  std::unique_ptr<Layers> layers_;
};

/// Random initialisation N(0, initializer_range), norms 1: keyed by (seed, parameter name, row) and drawn along the
/// row, so that it is the same under every layout.
void initialize(parallel::ParameterStore& parameters, const config::ModelConfig& config, std::uint64_t seed);

}  // namespace osler::model
