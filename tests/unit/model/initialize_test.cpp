#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "model/model.hpp"
#include "plan/parameter_specs.hpp"

namespace osler::model {
namespace {

config::ModelConfig tiny() {
  config::ModelConfig config;
  config.vocab_size = 97;
  config.hidden_size = 32;
  config.intermediate_size = 40;
  config.num_layers = 2;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 8;
  config.max_position_embeddings = 64;
  config.rms_norm_eps = 1e-5;
  config.rope_theta = 1e4;
  return config;
}

TEST(Initialize, IsKeyedBySeedAndNameAndNothingElse) {
  const auto config = tiny();
  const auto specs = plan::parameter_specs(config);
  parallel::ParameterStore a(specs, at::kFloat), other_layout(specs, at::kFloat, {.dense = 3}),
      other_seed(specs, at::kFloat);
  initialize(a, config, 5);
  initialize(other_layout, config, 5);
  initialize(other_seed, config, 6);
  for (const auto& parameter : a.parameters()) {
    EXPECT_TRUE(at::equal(parameter.data, other_layout[parameter.name].data)) << parameter.name;
    if (parameter.data.dim() == 1) {
      EXPECT_TRUE(parameter.data.eq(1).all().item<bool>()) << parameter.name;
      continue;
    }
    EXPECT_FALSE(at::equal(parameter.data, other_seed[parameter.name].data)) << parameter.name;
    const auto n = static_cast<double>(parameter.data.numel());
    EXPECT_NEAR(parameter.data.mean().item<double>(), 0, 5 * 0.02 / std::sqrt(n)) << parameter.name;
    EXPECT_NEAR(parameter.data.std().item<double>(), 0.02, 5 * 0.02 / std::sqrt(2 * n)) << parameter.name;
  }
  const at::Tensor q = a["model.layers.0.self_attn.q_proj.weight"].data;
  EXPECT_FALSE(at::equal(q, a["model.layers.1.self_attn.q_proj.weight"].data));
  EXPECT_FALSE(at::equal(q[0], q[1]));
}

/// In fp64 bit for bit. In fp32 products of what never learns have an order of sums of their own (row_product.hpp):
/// tens of roundings of 6e-8 in each of two layers, on values of size 1.
void expect_to_run_without_gradient_buffers(c10::ScalarType type, double tolerance) {
  const auto config = tiny();
  parallel::ParameterStore store(plan::parameter_specs(config), type);
  initialize(store, config, 1);
  Model model(config, store, config::Recompute::none);
  const at::Tensor tokens = at::tensor({1, 2, 3, 4, 5}, at::kLong), positions = at::arange(5);
  const AttentionLayout layout{{{0, 5, 0, 0}}, 5};
  at::Tensor inferred;
  {
    const c10::InferenceMode inference;
    inferred = model.forward(tokens, positions, layout).hidden_RD;
  }
  EXPECT_FALSE(model.forward(tokens, positions, layout).hidden_RD.requires_grad());
  store.allocate_grad();
  const at::Tensor hidden = model.forward(tokens, positions, layout).hidden_RD;
  ASSERT_TRUE(hidden.requires_grad());
  EXPECT_LE((hidden.detach() - inferred.clone()).abs().max().item<double>(), tolerance);
  hidden.square().sum().backward();
  for (const auto& parameter : store.parameters()) {
    const bool unused = parameter.name == "lm_head.weight";
    EXPECT_EQ(parameter.grad.abs().max().item<double>() == 0, unused) << parameter.name;
  }
}

TEST(Model, RunsWithoutGradientBuffersAndSeesThemWhenTheyCome) {
  expect_to_run_without_gradient_buffers(at::kDouble, 0);
  expect_to_run_without_gradient_buffers(at::kFloat, 1e-5);
}

TEST(Model, EmbeddingNoiseIsAddedToTheEmbeddings) {
  const auto config = tiny();
  parallel::ParameterStore store(plan::parameter_specs(config), at::kDouble);
  initialize(store, config, 1);
  Model model(config, store, config::Recompute::none);
  const at::Tensor tokens = at::tensor({1, 2, 3}, at::kLong), positions = at::arange(3);
  const AttentionLayout layout{{{0, 3, 0, 0}}, 3};
  at::Tensor table = store["model.embed_tokens.weight"].data;
  const at::Tensor noise = table.index_select(0, at::tensor({7, 8, 9}, at::kLong));
  const at::Tensor with_noise = model.forward(tokens, positions, layout, noise).hidden_RD;
  table.narrow(0, 1, 3).add_(noise);
  const at::Tensor moved = model.forward(tokens, positions, layout).hidden_RD;
  EXPECT_TRUE(at::allclose(with_noise, moved, 0, 1e-12));
}

}  // namespace
}  // namespace osler::model
