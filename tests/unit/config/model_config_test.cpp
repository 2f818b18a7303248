#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "config/model_config.hpp"

namespace osler::config {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// As transformers 4 writes it.
json mistral() {
  return json::parse(R"({"architectures": ["MistralForCausalLM"], "model_type": "mistral", "attention_dropout": 0.0,
    "bos_token_id": 1, "hidden_act": "silu", "hidden_size": 64, "initializer_range": 0.01, "intermediate_size": 96,
    "max_position_embeddings": 512, "num_attention_heads": 4, "num_hidden_layers": 2, "num_key_value_heads": 2,
    "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "sliding_window": 32, "tie_word_embeddings": false,
    "torch_dtype": "bfloat16", "transformers_version": "4.34.0", "use_cache": true, "vocab_size": 100})");
}

// As transformers 5 writes it.
json mixtral() {
  return json::parse(R"({"architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "attention_dropout": 0.0,
    "dtype": "float32", "head_dim": null, "hidden_act": "silu", "hidden_size": 64, "initializer_range": 0.02,
    "intermediate_size": 96, "max_position_embeddings": 512, "num_attention_heads": 4, "num_experts_per_tok": 2,
    "num_hidden_layers": 2, "num_key_value_heads": 4, "num_local_experts": 8, "output_router_logits": false,
    "pad_token_id": null, "rms_norm_eps": 1e-05, "rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"},
    "router_aux_loss_coef": 0.02, "router_jitter_noise": 0.0, "sliding_window": null, "tie_word_embeddings": true,
    "transformers_version": "5.23.0", "vocab_size": 100})");
}

ModelConfig parse(const json& config) {
  return parse_model_config(config.dump(), "some/config.json");
}

std::string problem(const std::string& text) {
  try {
    parse_model_config(text, "some/config.json");
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr("some/config.json"));
    return error.what();
  }
  return "accepted";
}

TEST(ModelConfigFile, ReadsTheFormOfTransformers4) {
  const ModelConfig config = parse(mistral());
  EXPECT_FALSE(config.is_mixture);
  EXPECT_EQ(config.vocab_size, 100);
  EXPECT_EQ(config.head_dim, 16);
  EXPECT_EQ(config.num_kv_heads, 2);
  EXPECT_EQ(config.rope_theta, 10000);
  EXPECT_EQ(config.rms_norm_eps, 1e-5);
  EXPECT_EQ(config.sliding_window, 32);
  EXPECT_EQ(config.initializer_range, 0.01);
  EXPECT_EQ(config.stored_dtype, "bfloat16");
  EXPECT_EQ(config.num_experts, 0);
  EXPECT_FALSE(config.tie_word_embeddings);
}

TEST(ModelConfigFile, ReadsTheFormOfTransformers5) {
  const ModelConfig config = parse(mixtral());
  EXPECT_TRUE(config.is_mixture);
  EXPECT_EQ(config.num_experts, 8);
  EXPECT_EQ(config.top_k, 2);
  EXPECT_EQ(config.rope_theta, 1e6);
  EXPECT_EQ(config.sliding_window, std::nullopt);
  EXPECT_EQ(config.router_aux_coefficient, 0.02);
  EXPECT_EQ(config.stored_dtype, "float32");
  EXPECT_TRUE(config.tie_word_embeddings);
}

TEST(ModelConfigFile, AcceptsWhatMeansTheSame) {
  for (const char* patch :
       {R"({"head_dim": 32})", R"({"architectures": null})", R"({"model_type": null})", R"({"hidden_act": null})",
        R"({"initializer_range": null})", R"({"attention_bias": false})", R"({"rope_scaling": null})",
        R"({"rope_scaling": {"rope_type": "default"}})", R"({"sliding_window": null})"}) {
    json config = mistral();
    config.update(json::parse(patch));
    EXPECT_NO_THROW(parse(config)) << patch;
  }
  json config = mistral();
  config["head_dim"] = 32;
  EXPECT_EQ(parse(config).head_dim, 32);
}

struct BadPatch {
  const char* patch;
  const char* message;
};

TEST(ModelConfigFile, RefusesWhatItCannotHonour) {
  for (const auto& [patch, message] : std::initializer_list<BadPatch>{
           {R"({"architectures": ["LlamaForCausalLM"]})",
            "\"architectures\" says LlamaForCausalLM but \"model_type\" says mistral"},
           {R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama"})",
            "known are MistralForCausalLM and MixtralForCausalLM"},
           {R"({"architectures": ["A", "B"]})", "a list of one name"},
           {R"({"architectures": "MistralForCausalLM"})", "a list of one name"},
           {R"({"architectures": null, "model_type": null})", "\"architectures\" is missing"},
           {R"({"model_type": 3})", "not a string"},
           {R"({"vocab_size": null})", "\"vocab_size\" is missing"},
           {R"({"vocab_size": 0})", "must be from 1 to"},
           {R"({"vocab_size": -4})", "must be from 1 to"},
           {R"({"vocab_size": 18446744073709551615})", "must be from 1 to"},
           {R"({"vocab_size": 100.0})", "not a whole number"},
           {R"({"vocab_size": "100"})", "not a whole number"},
           {R"({"hidden_size": 66})", "which 4 attention heads do not divide"},
           {R"({"num_key_value_heads": 3})", "does not divide 4 attention heads"},
           {R"({"num_key_value_heads": null})", "\"num_key_value_heads\" is missing"},
           {R"({"head_dim": 15})", "even number"},
           {R"({"rms_norm_eps": null})", "\"rms_norm_eps\" is missing: it is not guessed"},
           {R"({"rms_norm_eps": 0})", "greater than 0"},
           {R"({"rms_norm_eps": "1e-5"})", "not a number"},
           {R"({"rope_theta": null})", "\"rope_theta\" is missing"},
           {R"({"rope_theta": -1})", "greater than 0"},
           {R"({"rope_parameters": {"rope_theta": 5, "rope_type": "default"}})", "differs"},
           {R"({"rope_parameters": {"rope_theta": 10000.0, "rope_type": "yarn"}})", "only \"default\""},
           {R"({"rope_parameters": {"rope_theta": 10000.0, "factor": 2}})", "no rope scaling"},
           {R"({"rope_parameters": {}, "rope_theta": null})", "rope_theta"},
           {R"({"rope_parameters": 7})", "not an object"},
           {R"({"rope_scaling": {"type": "linear", "factor": 2}})", "only \"default\""},
           {R"({"sliding_window": 0})", "must be from 1 to"},
           {R"({"hidden_act": "gelu"})", "only \"silu\""},
           {R"({"attention_dropout": 0.1})", "supports only 0"},
           {R"({"attention_bias": true})", "supports only false"},
           {R"({"quantization_config": {"bits": 4}})", "quantised"},
           {R"({"layer_types": ["full_attention"]})", "layer_types"},
           {R"({"tie_word_embeddings": 1})", "neither true nor false"},
           {R"({"torch_dtype": 16})", "not a string"}}) {
    json config = mistral();
    config.update(json::parse(patch));
    EXPECT_THAT(problem(config.dump()), HasSubstr(message)) << patch;
  }
  for (const auto& [patch, message] :
       std::initializer_list<BadPatch>{{R"({"num_local_experts": null})", "\"num_local_experts\" is missing"},
                                       {R"({"num_experts_per_tok": 9})", "is 9 but there are 8 experts"},
                                       {R"({"router_aux_loss_coef": null})", "\"router_aux_loss_coef\" is missing"},
                                       {R"({"router_aux_loss_coef": -1})", "negative"},
                                       {R"({"router_jitter_noise": 0.1})", "supports only 0"}}) {
    json config = mixtral();
    config.update(json::parse(patch));
    EXPECT_THAT(problem(config.dump()), HasSubstr(message)) << patch;
  }
}

TEST(ModelConfigFile, RefusesWhatIsNoConfig) {
  EXPECT_THAT(problem(""), HasSubstr("not valid JSON"));
  EXPECT_THAT(problem("{\"vocab_size\": "), HasSubstr("not valid JSON"));
  EXPECT_THAT(problem("{\"rope_theta\": 1e999}"), HasSubstr("not valid JSON"));
  EXPECT_THAT(problem("{\"_name\": \"Mrs Miller\" oops}"),
              AllOf(HasSubstr("not valid JSON at byte 24"), Not(HasSubstr("Miller")), Not(HasSubstr("oops"))));
  EXPECT_THAT(problem("[]"), HasSubstr("no JSON object"));
  EXPECT_THAT(problem("{}"), HasSubstr("\"architectures\" is missing"));
  EXPECT_THAT(problem(R"({"vocab_size": 1, "vocab_size": 2})"), HasSubstr("has the key 'vocab_size' twice"));
  json config = mistral();
  config.erase("sliding_window");
  EXPECT_THAT(problem(config.dump()), HasSubstr("write null for none"));
}

}  // namespace
}  // namespace osler::config
