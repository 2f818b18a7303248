// What config.json says of a Mistral or Mixtral model. Every value comes from the file: the defaults of the published
// classes are traps (docs/numerics.md), so a missing key that matters is an error.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace osler::config {

struct ModelConfig {
  bool is_mixture = false;  ///< MixtralForCausalLM
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t num_layers = 0;
  std::int64_t num_heads = 0;
  std::int64_t num_kv_heads = 0;
  std::int64_t head_dim = 0;  ///< "head_dim" if present and not null, else hidden_size / num_heads
  std::int64_t max_position_embeddings = 0;
  double rms_norm_eps = 0;
  double rope_theta =
      0;  ///< "rope_theta", or transformers 5's "rope_parameters": {"rope_theta"}; only rope_type default
  std::optional<std::int64_t> sliding_window;  ///< tokens; a query sees itself and sliding_window - 1 before it
  bool tie_word_embeddings = false;
  double initializer_range = 0.02;
  std::int64_t num_experts = 0;  ///< 0 for Mistral
  std::int64_t top_k = 0;
  double router_aux_coefficient = 0;
  std::string stored_dtype;  ///< "bfloat16", ...: "dtype" or "torch_dtype"; "" if absent
};

/// Parses config.json text. `origin` names the file in errors. Throws DataError naming the key and what is wrong:
/// unknown architecture, sizes that do not divide, an activation other than silu, rope scaling, dropout.
ModelConfig parse_model_config(const std::string& json_text, const std::string& origin);

}  // namespace osler::config
