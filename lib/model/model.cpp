#include "model/model.hpp"

#include <ATen/ATen.h>

#include "base/error.hpp"
#include "model/layer.hpp"
#include "model/norm.hpp"
#include "parallel/embedding.hpp"
#include "parallel/regions.hpp"

namespace osler::model {

/// Views into the store, made once; again when the store has got gradients since.
struct Model::Layers {
  Layers(const config::ModelConfig& config, const parallel::ParameterStore& parameters, const comm::MeshGroups& groups)
      : embedding(parameters["model.embed_tokens.weight"], groups.tp()), final_norm(parameters["model.norm.weight"]) {
    for (std::int64_t i = 0; i < config.num_layers; ++i) layers.emplace_back(config, parameters, groups, i);
  }
  parallel::VocabParallelEmbedding embedding;
  std::vector<Layer> layers;
  parallel::Parameter final_norm;
};

Model::Model(const config::ModelConfig& config, parallel::ParameterStore& parameters, config::Recompute recompute,
             const comm::MeshGroups& groups)
    : config_(config), parameters_(parameters), groups_(groups), recompute_(recompute) {
  layers_ = std::make_unique<Layers>(config_, parameters_, groups_);
}

Model::~Model() = default;

ModelOutput Model::forward(const at::Tensor& tokens_R, const at::Tensor& positions_R, const AttentionLayout& layout,
                           const at::Tensor& embedding_noise_RD,
                           const std::function<void(std::int64_t layer)>& on_layer_done) {
  OSLER_CHECK(tokens_R.dim() == 1 && positions_R.sizes() == tokens_R.sizes(), "tokens and positions are [R] alike");
  if (layers_->final_norm.grad.defined() != parameters_.grad().defined())
    layers_ = std::make_unique<Layers>(config_, parameters_, groups_);
  const auto pass = std::make_shared<const PassContext>(PassContext{
      layout, rope_tables(positions_R, config_.head_dim, config_.rope_theta, parameters_.data().scalar_type()),
      recompute_});
  LayerOutput stream;
  stream.residual_RD = layers_->embedding(tokens_R);
  if (embedding_noise_RD.defined()) stream.delta_RD = parallel::own_rows(embedding_noise_RD, groups_.tp());
  ModelOutput output;
  for (std::size_t i = 0; i < layers_->layers.size(); ++i) {
    if (on_layer_done)
      stream.residual_RD = parallel::call_in_backward(
          stream.residual_RD, [on_layer_done, i] { on_layer_done(static_cast<std::int64_t>(i)); });
    stream = layers_->layers[i].forward(stream.residual_RD, stream.delta_RD, pass);
    if (!stream.expert_RK.defined()) continue;
    output.router.logits_RE.push_back(stream.router_logits_RE);
    output.router.expert_RK.push_back(stream.expert_RK);
  }
  output.hidden_RD =
      add_and_norm(stream.residual_RD, stream.delta_RD, layers_->final_norm, config_.rms_norm_eps).normed_RD;
  return output;
}

parallel::Parameter Model::head() const {
  return parameters_[config_.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight"];
}

KeyValueCache Model::make_cache(std::int64_t num_slots) const {
  return {config_.num_layers, layers_->layers.front().heads().num_kv_heads, num_slots, config_.head_dim,
          parameters_.data().options()};
}

}  // namespace osler::model
