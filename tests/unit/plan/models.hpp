// The two published models and small inputs, for the tests of plan.
#pragma once

#include "plan/forecast_input.hpp"

namespace osler::plan {

inline config::ModelConfig mistral() {
  config::ModelConfig config;
  config.vocab_size = 32000;
  config.hidden_size = 4096;
  config.intermediate_size = 14336;
  config.num_layers = 32;
  config.num_heads = 32;
  config.num_kv_heads = 8;
  config.head_dim = 128;
  config.max_position_embeddings = 32768;
  config.sliding_window = 4096;
  return config;
}
inline config::ModelConfig mixtral() {
  config::ModelConfig config = mistral();
  config.is_mixture = true;
  config.sliding_window.reset();
  config.num_experts = 8;
  config.top_k = 2;
  return config;
}

inline config::DataOptions batch(std::int64_t global, std::int64_t micro) {
  config::DataOptions data;
  data.global_batch = global;
  data.micro_batch = micro;
  return data;
}

/// 2 layers of 16, 4 heads over 2 key-value heads of 4, ffn 12, vocabulary 40; 2 sequences of 8 in a micro-batch.
inline ForecastInput tiny(bool is_mixture) {
  ForecastInput input;
  input.model = is_mixture ? mixtral() : mistral();
  input.model.hidden_size = 16;
  input.model.intermediate_size = 12;
  input.model.num_layers = 2;
  input.model.num_heads = 4;
  input.model.num_kv_heads = 2;
  input.model.head_dim = 4;
  input.model.vocab_size = 40;
  if (is_mixture) input.model.num_experts = 4;
  input.data = batch(16, 2);
  input.data.sequence_length = 8;
  return input;
}

}  // namespace osler::plan
