#include "config/model_config.hpp"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "config/strict_json.hpp"

namespace osler::config {
namespace {

using Json = nlohmann::json;

constexpr std::int64_t kMostOfAnything = std::numeric_limits<std::int32_t>::max();

/// Typed look-ups in one JSON object, with errors that name the file and the key.
class Reader {
 public:
  Reader(const Json& object, std::string origin) : object_(object), origin_(std::move(origin)) {}

  [[noreturn]] void fail(const std::string& key, const std::string& problem) const {
    throw DataError("'", origin_, "': \"", key, "\" ", problem);
  }
  /// nullptr when absent or null.
  const Json* find(const std::string& key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }
  bool has(const std::string& key) const { return object_.contains(key); }
  const Json& need(const std::string& key) const {
    const Json* value = find(key);
    if (!value) fail(key, "is missing: it is not guessed, since the library's default may differ from the model's");
    return *value;
  }
  std::int64_t count(const std::string& key) const { return count_of(key, need(key)); }
  std::int64_t count_of(const std::string& key, const Json& value) const {
    if (!value.is_number_integer()) fail(key, "is " + value.dump() + ", which is not a whole number");
    const bool too_large = value.is_number_unsigned() && value.get<std::uint64_t>() > std::uint64_t{kMostOfAnything};
    if (too_large || value.get<std::int64_t>() < 1)
      fail(key, "is " + value.dump() + "; it must be from 1 to " + std::to_string(kMostOfAnything));
    return value.get<std::int64_t>();
  }
  double number(const std::string& key) const { return number_of(key, need(key)); }
  double number_of(const std::string& key, const Json& value) const {
    if (!value.is_number()) fail(key, "is " + value.dump() + ", which is not a number");
    return value.get<double>();
  }
  double positive(const std::string& key) const {
    const double value = number(key);
    if (!(value > 0)) fail(key, "is " + need(key).dump() + "; it must be greater than 0");
    return value;
  }
  std::string text_or(const std::string& key, const std::string& fallback) const {
    const Json* value = find(key);
    if (!value) return fallback;
    if (!value->is_string()) fail(key, "is " + value->dump() + ", which is not a string");
    return value->get<std::string>();
  }
  bool flag_or(const std::string& key, bool fallback) const {
    const Json* value = find(key);
    if (!value) return fallback;
    if (!value->is_boolean()) fail(key, "is " + value->dump() + ", which is neither true nor false");
    return value->get<bool>();
  }
  void must_be_zero(const std::string& key) const {
    const Json* value = find(key);
    if (value && number_of(key, *value) != 0) fail(key, "is " + value->dump() + "; this version supports only 0");
  }
  void must_be_false(const std::string& key) const {
    if (flag_or(key, false)) fail(key, "is true; this version supports only false");
  }
  void must_be_absent(const std::string& key, const std::string& reason) const {
    if (find(key)) fail(key, "is present; " + reason);
  }

 private:
  const Json& object_;
  std::string origin_;
};

Json parse_object(const std::string& text, const std::string& origin) {
  Json root = parse_strict_json(text, "'" + origin + "'");
  if (!root.is_object()) throw DataError("'", origin, "' holds no JSON object; a model's config.json is one");
  return root;
}

bool read_is_mixture(const Reader& reader) {
  const std::string known = "; known are MistralForCausalLM and MixtralForCausalLM";
  const std::string type = reader.text_or("model_type", "");
  std::string architecture = type == "mistral" ? "MistralForCausalLM" : type == "mixtral" ? "MixtralForCausalLM" : "";
  if (const Json* list = reader.find("architectures")) {
    if (!list->is_array() || list->size() != 1 || !list->front().is_string())
      reader.fail("architectures", "is " + list->dump() + "; expected a list of one name" + known);
    const std::string named = list->front().get<std::string>();
    if (!architecture.empty() && architecture != named)
      reader.fail("architectures", "says " + named + " but \"model_type\" says " + type);
    architecture = named;
  } else if (architecture.empty()) {
    reader.fail("architectures", "is missing" + known);
  }
  if (architecture != "MistralForCausalLM" && architecture != "MixtralForCausalLM")
    reader.fail("architectures", "is " + architecture + known);
  return architecture == "MixtralForCausalLM";
}

void require_default_rope(const Reader& owner, const std::string& key, const Json& rope) {
  if (!rope.is_object()) owner.fail(key, "is " + rope.dump() + ", which is not an object");
  for (const char* type_key : {"rope_type", "type"}) {
    if (rope.contains(type_key) && rope[type_key] != "default")
      owner.fail(key, "asks for rope type " + rope[type_key].dump() + "; this version supports only \"default\"");
  }
  for (const auto& [name, value] : rope.items()) {
    if (name != "rope_type" && name != "type" && name != "rope_theta")
      owner.fail(key, "holds \"" + name + "\"; this version knows no rope scaling");
  }
}

double read_rope_theta(const Reader& reader, const std::string& origin) {
  if (const Json* scaling = reader.find("rope_scaling")) require_default_rope(reader, "rope_scaling", *scaling);
  const Json* parameters = reader.find("rope_parameters");
  if (!parameters) return reader.positive("rope_theta");
  require_default_rope(reader, "rope_parameters", *parameters);
  const double theta = Reader(*parameters, origin + "\": \"rope_parameters").positive("rope_theta");
  if (reader.find("rope_theta") && reader.number("rope_theta") != theta)
    reader.fail("rope_theta", "differs from \"rope_parameters\": keep one");
  return theta;
}

std::optional<std::int64_t> read_sliding_window(const Reader& reader, bool is_mixture) {
  const Json* value = reader.find("sliding_window");
  if (value) return reader.count_of("sliding_window", *value);
  if (!is_mixture && !reader.has("sliding_window"))
    reader.fail("sliding_window", "is missing: write null for none (the library would then take 4096)");
  return std::nullopt;
}

std::int64_t read_head_dim(const Reader& reader, const ModelConfig& config) {
  std::int64_t head_dim = 0;
  if (const Json* value = reader.find("head_dim")) {
    head_dim = reader.count_of("head_dim", *value);
  } else {
    if (config.hidden_size % config.num_heads != 0)
      reader.fail("hidden_size", text_of("is ", config.hidden_size, ", which ", config.num_heads,
                                         " attention heads do not divide; give \"head_dim\" or mend either"));
    head_dim = config.hidden_size / config.num_heads;
  }
  if (head_dim % 2 != 0) reader.fail("head_dim", text_of("is ", head_dim, "; rotary embedding needs an even number"));
  return head_dim;
}

void read_mixture(const Reader& reader, ModelConfig& config) {
  config.num_experts = reader.count("num_local_experts");
  config.top_k = reader.count("num_experts_per_tok");
  if (config.top_k > config.num_experts)
    reader.fail("num_experts_per_tok", text_of("is ", config.top_k, " but there are ", config.num_experts, " experts"));
  config.router_aux_coefficient = reader.number("router_aux_loss_coef");
  if (config.router_aux_coefficient < 0) reader.fail("router_aux_loss_coef", "is negative");
  reader.must_be_zero("router_jitter_noise");
}

void refuse_what_is_not_supported(const Reader& reader) {
  if (reader.text_or("hidden_act", "silu") != "silu")
    reader.fail("hidden_act", "is \"" + reader.text_or("hidden_act", "") + "\"; this version supports only \"silu\"");
  for (const char* key : {"attention_dropout", "hidden_dropout", "embd_pdrop", "resid_pdrop"}) reader.must_be_zero(key);
  for (const char* key : {"attention_bias", "mlp_bias"}) reader.must_be_false(key);
  reader.must_be_absent("quantization_config", "quantised weights are not supported: take the unquantised model");
  reader.must_be_absent("layer_types", "layers of different attention types are not supported");
}

}  // namespace

ModelConfig parse_model_config(const std::string& json_text, const std::string& origin) {
  const Json root = parse_object(json_text, origin);
  const Reader reader(root, origin);
  ModelConfig config;
  config.is_mixture = read_is_mixture(reader);
  refuse_what_is_not_supported(reader);
  config.vocab_size = reader.count("vocab_size");
  config.hidden_size = reader.count("hidden_size");
  config.intermediate_size = reader.count("intermediate_size");
  config.num_layers = reader.count("num_hidden_layers");
  config.num_heads = reader.count("num_attention_heads");
  config.num_kv_heads = reader.count("num_key_value_heads");
  if (config.num_heads % config.num_kv_heads != 0)
    reader.fail("num_key_value_heads",
                text_of("is ", config.num_kv_heads, ", which does not divide ", config.num_heads, " attention heads"));
  config.head_dim = read_head_dim(reader, config);
  config.max_position_embeddings = reader.count("max_position_embeddings");
  config.rms_norm_eps = reader.positive("rms_norm_eps");
  config.rope_theta = read_rope_theta(reader, origin);
  config.sliding_window = read_sliding_window(reader, config.is_mixture);
  config.tie_word_embeddings = reader.flag_or("tie_word_embeddings", false);
  config.initializer_range = reader.find("initializer_range") ? reader.positive("initializer_range") : 0.02;
  if (config.is_mixture) read_mixture(reader, config);
  config.stored_dtype = reader.text_or("dtype", reader.text_or("torch_dtype", ""));
  return config;
}

}  // namespace osler::config
