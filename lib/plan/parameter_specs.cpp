#include "plan/parameter_specs.hpp"

#include "plan/piece.hpp"

namespace osler::plan {
namespace {

std::string layer_name(std::int64_t layer, const std::string& rest) {
  return "model.layers." + std::to_string(layer) + "." + rest;
}

void add_attention(const config::ModelConfig& config, std::int64_t layer, std::vector<ParameterSpec>& specs) {
  const std::int64_t query_rows = config.num_heads * config.head_dim;
  const std::int64_t kv_rows = config.num_kv_heads * config.head_dim;
  const auto name = [&](const char* part) { return layer_name(layer, std::string("self_attn.") + part + ".weight"); };
  specs.push_back({name("q_proj"), {query_rows, config.hidden_size}});
  specs.push_back({name("k_proj"), {kv_rows, config.hidden_size}, true, true});
  specs.push_back({name("v_proj"), {kv_rows, config.hidden_size}, true, true});
  specs.push_back({name("o_proj"), {config.hidden_size, query_rows}});
}

void add_feed_forward(const config::ModelConfig& config, std::int64_t layer, std::vector<ParameterSpec>& specs) {
  const std::vector<std::int64_t> widen{config.intermediate_size, config.hidden_size};
  const std::vector<std::int64_t> narrow{config.hidden_size, config.intermediate_size};
  if (!config.is_mixture) {
    specs.push_back({layer_name(layer, "mlp.gate_proj.weight"), widen});
    specs.push_back({layer_name(layer, "mlp.up_proj.weight"), widen, true, true});
    specs.push_back({layer_name(layer, "mlp.down_proj.weight"), narrow});
    return;
  }
  const auto expert = [&](std::int64_t index, const char* part) {
    return layer_name(layer, "block_sparse_moe.experts." + std::to_string(index) + "." + part + ".weight");
  };
  specs.push_back({layer_name(layer, "block_sparse_moe.gate.weight"), {config.num_experts, config.hidden_size}});
  for (std::int64_t index = 0; index < config.num_experts; ++index) {
    specs.push_back({expert(index, "w1"), widen, true, index > 0});
    specs.push_back({expert(index, "w3"), widen, true, true});
  }
  for (std::int64_t index = 0; index < config.num_experts; ++index)
    specs.push_back({expert(index, "w2"), narrow, true, index > 0});
}

}  // namespace

std::vector<ParameterSpec> parameter_specs(const config::ModelConfig& config) {
  std::vector<ParameterSpec> specs;
  specs.push_back({"model.embed_tokens.weight", {config.vocab_size, config.hidden_size}});
  for (std::int64_t layer = 0; layer < config.num_layers; ++layer) {
    add_attention(config, layer, specs);
    add_feed_forward(config, layer, specs);
  }
  if (!config.tie_word_embeddings) specs.push_back({"lm_head.weight", {config.vocab_size, config.hidden_size}});
  const auto add_norm = [&](const std::string& name) { specs.push_back({name, {config.hidden_size}, false}); };
  for (std::int64_t layer = 0; layer < config.num_layers; ++layer) {
    add_norm(layer_name(layer, "input_layernorm.weight"));
    add_norm(layer_name(layer, "post_attention_layernorm.weight"));
  }
  add_norm("model.norm.weight");
  return specs;
}

ParameterCount count_parameters(const config::ModelConfig& config) {
  ParameterCount count;
  for (const ParameterSpec& spec : parameter_specs(config)) count.total += num_elements(spec.shape);
  const std::int64_t idle_experts = config.is_mixture ? config.num_experts - config.top_k : 0;
  count.active = count.total - config.num_layers * idle_experts * 3 * config.hidden_size * config.intermediate_size;
  return count;
}

}  // namespace osler::plan
