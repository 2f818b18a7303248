#include "plan/parameter_specs.hpp"

#include <algorithm>
#include <initializer_list>

#include "base/error.hpp"
#include "plan/piece.hpp"

namespace osler::plan {
namespace {

std::string layer_name(std::int64_t layer, const std::string& rest) {
  return "model.layers." + std::to_string(layer) + "." + rest;
}

/// Collects the parameters of one layer.
class LayerSpecs {
 public:
  LayerSpecs(const config::ModelConfig& config, std::int64_t layer, std::vector<ParameterSpec>& specs)
      : config_(config), layer_(layer), specs_(specs) {}

  void add_attention() {
    const std::int64_t query_rows = config_.num_heads * config_.head_dim;
    const std::int64_t kv_rows = config_.num_kv_heads * config_.head_dim;
    add("self_attn.q_proj.weight", {query_rows, config_.hidden_size});
    add("self_attn.k_proj.weight", {kv_rows, config_.hidden_size}).joins_previous = true;
    add("self_attn.v_proj.weight", {kv_rows, config_.hidden_size}).joins_previous = true;
    add("self_attn.o_proj.weight", {config_.hidden_size, query_rows});
  }

  void add_feed_forward() {
    const std::vector<std::int64_t> widen{config_.intermediate_size, config_.hidden_size};
    const std::vector<std::int64_t> narrow{config_.hidden_size, config_.intermediate_size};
    if (!config_.is_mixture) {
      add("mlp.gate_proj.weight", widen);
      add("mlp.up_proj.weight", widen).joins_previous = true;
      add("mlp.down_proj.weight", narrow);
      return;
    }
    add("block_sparse_moe.gate.weight", {config_.num_experts, config_.hidden_size});
    for (std::int64_t index = 0; index < config_.num_experts; ++index) {
      add_expert(index, "w1", widen, index > 0);
      add_expert(index, "w3", widen, true);
    }
    for (std::int64_t index = 0; index < config_.num_experts; ++index) add_expert(index, "w2", narrow, index > 0);
  }

 private:
  ParameterSpec& add(const std::string& name, const std::vector<std::int64_t>& shape) {
    specs_.push_back({.name = layer_name(layer_, name), .shape = shape, .layer = layer_});
    return specs_.back();
  }
  void add_expert(std::int64_t index, const char* part, const std::vector<std::int64_t>& shape, bool joins_previous) {
    ParameterSpec& spec = add(text_of("block_sparse_moe.experts.", index, ".", part, ".weight"), shape);
    spec.joins_previous = joins_previous;
    spec.expert = index;
  }

  const config::ModelConfig& config_;
  std::int64_t layer_;
  std::vector<ParameterSpec>& specs_;
};

bool ends_with_one_of(const std::string& name, std::initializer_list<const char*> ends) {
  return std::any_of(ends.begin(), ends.end(), [&](const char* end) { return name.ends_with(end); });
}

/// Keeps part `index` of `parts` equal parts of `dim`.
void cut(ParameterSpec& spec, std::size_t dim, std::int64_t parts, std::int64_t index) {
  OSLER_CHECK(spec.shape[dim] % parts == 0, spec.name, ": ", spec.shape[dim], " over ", parts);
  spec.extent[dim] = spec.shape[dim] / parts;
  spec.offset[dim] = spec.extent[dim] * index;
}

void cut_over_tp(ParameterSpec& spec, const config::ModelConfig& config, std::int64_t tp, std::int64_t tp_rank) {
  if (ends_with_one_of(spec.name, {"k_proj.weight", "v_proj.weight"})) {
    const std::int64_t parts = std::min(tp, config.num_kv_heads);
    spec.replicas = tp / parts;
    spec.replica = tp_rank % spec.replicas;
    cut(spec, 0, parts, tp_rank / spec.replicas);
  } else if (ends_with_one_of(spec.name, {"o_proj.weight", "down_proj.weight"})) {
    cut(spec, 1, tp, tp_rank);
  } else if (spec.shape.size() == 1 || spec.name.ends_with("block_sparse_moe.gate.weight")) {
    spec.replicas = tp;
    spec.replica = tp_rank;
  } else {
    cut(spec, 0, tp, tp_rank);
  }
}

}  // namespace

std::vector<ParameterSpec> parameter_specs(const config::ModelConfig& config) {
  std::vector<ParameterSpec> specs;
  specs.push_back({.name = "model.embed_tokens.weight", .shape = {config.vocab_size, config.hidden_size}});
  for (std::int64_t layer = 0; layer < config.num_layers; ++layer) {
    LayerSpecs of_layer(config, layer, specs);
    of_layer.add_attention();
    of_layer.add_feed_forward();
  }
  if (!config.tie_word_embeddings)
    specs.push_back(
        {.name = "lm_head.weight", .shape = {config.vocab_size, config.hidden_size}, .layer = config.num_layers});
  const auto add_norm = [&](const std::string& name) {
    specs.push_back({.name = name, .shape = {config.hidden_size}, .decay = false});
  };
  for (std::int64_t layer = 0; layer < config.num_layers; ++layer) {
    add_norm(layer_name(layer, "input_layernorm.weight"));
    add_norm(layer_name(layer, "post_attention_layernorm.weight"));
  }
  add_norm("model.norm.weight");
  return specs;
}

std::vector<ParameterSpec> parameter_specs_of_rank(const config::ModelConfig& config, const Mesh& mesh,
                                                   std::int64_t rank) {
  const std::int64_t ep_rank = rank % mesh.ep;
  const std::int64_t num_local_experts = config.is_mixture ? config.num_experts / mesh.ep : 0;
  std::vector<ParameterSpec> held;
  for (ParameterSpec& spec : parameter_specs(config)) {
    if (spec.expert < 0) {
      cut_over_tp(spec, config, mesh.tp, rank % mesh.tp);
      held.push_back(std::move(spec));
      continue;
    }
    if (spec.expert / num_local_experts != ep_rank) continue;
    // Its predecessor among w1, w3 or among w2 is on another rank.
    if (spec.expert % num_local_experts == 0 && !spec.name.ends_with("w3.weight")) spec.joins_previous = false;
    held.push_back(std::move(spec));
  }
  return held;
}

ParameterCount count_parameters(const config::ModelConfig& config) {
  ParameterCount count;
  for (const ParameterSpec& spec : parameter_specs(config)) count.total += num_elements(spec.shape);
  const std::int64_t idle_experts = config.is_mixture ? config.num_experts - config.top_k : 0;
  count.active = count.total - config.num_layers * idle_experts * 3 * config.hidden_size * config.intermediate_size;
  return count;
}

}  // namespace osler::plan
