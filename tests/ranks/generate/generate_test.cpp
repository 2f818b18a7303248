// Every layout of the ranks gives the tokens of one rank, also where some ranks of ep have nothing to do; and what
// fails on one rank ends the call on all.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>

#include "base/error.hpp"
#include "base/random.hpp"
#include "generate/embedder.hpp"
#include "generate/generator.hpp"
#include "generate/scorer.hpp"
#include "plan/parameter_specs.hpp"
#include "support/ranks_world.hpp"
#include "support/temporary_folder.hpp"
#include "unit/text/tiny_model.hpp"

namespace osler::generate {
namespace {

using tests::world;

config::ModelConfig small_model(bool is_mixture) {
  config::ModelConfig config;
  config.vocab_size = 96;
  config.hidden_size = 48;
  config.intermediate_size = 24;
  config.num_layers = 2;
  config.num_heads = 12;
  config.num_kv_heads = 12;
  config.head_dim = 4;
  config.max_position_embeddings = 120;
  config.rms_norm_eps = 1e-5;
  config.rope_theta = 1e4;
  config.initializer_range = 0.3;
  config.sliding_window = 21;
  if (is_mixture) {
    config.is_mixture = true;
    config.num_experts = 12;
    config.top_k = 2;
  }
  return config;
}

/// A model over `groups`, whose weights depend on their names alone.
struct Placed {
  Placed(const config::ModelConfig& config, const comm::MeshGroups& groups, at::ScalarType type)
      : store(plan::parameter_specs_of_rank(config, groups.mesh(), groups.world().rank()), at::TensorOptions(type),
              plan::sharers_of(groups.mesh())),
        model(config, store, config::Recompute::none, groups) {
    model::initialize(store, config, 7);
  }
  parallel::ParameterStore store;
  model::Model model;
};

std::vector<GenerateRequest> requests_of(std::size_t count) {
  RandomStream stream(13, Purpose::test);
  std::vector<GenerateRequest> requests(count);
  for (std::size_t r = 0; r < count; ++r) {
    const std::uint64_t length = 1 + stream.below(60);
    for (std::uint64_t i = 0; i < length; ++i) requests[r].prompt.push_back(static_cast<int>(3 + stream.below(90)));
    requests[r].max_new_tokens = static_cast<std::int64_t>(stream.below(12));
    requests[r].key = r;
    if (r % 3 == 1) requests[r].sampling = {0.8, 0.9};
    if (r % 3 == 1) requests[r].num_samples = 3;
  }
  return requests;
}

std::vector<plan::Mesh> meshes(bool is_mixture) {
  const std::int64_t size = world().host().size();
  std::vector<plan::Mesh> all;
  for (std::int64_t tp = 1; tp <= size; ++tp)
    for (std::int64_t ep = 1; ep <= (is_mixture ? size : 1); ++ep)
      if (size % tp == 0 && size % ep == 0)
        all.push_back({.world = size, .tp = tp, .dp = size / tp, .ep = ep, .edp = size / ep});
  return all;
}

/// Those of `items` that this rank of dp has: most of them go to the first, and with few the last has none.
template <class Item>
std::vector<Item> own_of(const std::vector<Item>& items, const comm::Group& dp, std::vector<std::size_t>& index) {
  std::vector<Item> own;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const int owner = i % 2 == 0 ? 0 : static_cast<int>(i / 2) % std::max(1, dp.size() - 1);
    if (owner == dp.rank()) own.push_back(items[i]), index.push_back(i);
  }
  return own;
}

const text::Tokenizer& tokenizer() {
  static const tests::TemporaryFolder folder;
  static const text::Tokenizer one(
      folder.write("tokenizer" + std::to_string(world().host().rank()) + ".model", tests::tiny_model({"a b"})));
  return one;
}

class Layouts : public testing::TestWithParam<bool> {};

TEST_P(Layouts, EveryLayoutGivesTheTokensOfOneRank) {
  const auto config = small_model(GetParam());
  const auto requests = requests_of(17);
  const c10::Device cpu(c10::kCPU);
  for (const auto type : {at::kDouble, at::kFloat}) {
    Placed alone(config, comm::single(), type);
    const auto wanted = generate(alone.model, tokenizer(), requests, 3, 150, cpu);
    for (const plan::Mesh& mesh : meshes(GetParam())) {
      const comm::MeshGroups groups(world().host(), mesh);
      Placed placed(config, groups, type);
      std::vector<std::size_t> index;
      const auto own = own_of(requests, groups.dp(), index);
      const auto got = generate(placed.model, tokenizer(), own, 3, 90, cpu);
      ASSERT_EQ(got.size(), own.size());
      for (std::size_t i = 0; i < own.size(); ++i) {
        ASSERT_EQ(got[i].size(), wanted[index[i]].size());
        for (std::size_t s = 0; s < got[i].size(); ++s) {
          const Generation &mine = got[i][s], &theirs = wanted[index[i]][s];
          EXPECT_EQ(mine.ids, theirs.ids) << "tp " << mesh.tp << " ep " << mesh.ep << " request " << index[i];
          EXPECT_EQ(mine.text, theirs.text);
          EXPECT_EQ(mine.finish, theirs.finish);
          for (std::size_t t = 0; t < std::min(mine.ids.size(), theirs.ids.size()); ++t)
            EXPECT_NEAR(mine.log_probs[t], theirs.log_probs[t], 1e-4);
        }
      }
    }
  }
}

TEST_P(Layouts, EveryLayoutGivesTheScoresAndVectorsOfOneRank) {
  const auto config = small_model(GetParam());
  std::vector<ScoreRequest> requests;
  std::vector<std::vector<int>> texts;
  for (const auto& request : requests_of(11)) {
    requests.push_back({request.prompt, {{5}, {7, 9}, {11}}});
    texts.push_back(request.prompt);
  }
  const c10::Device cpu(c10::kCPU);
  Placed alone(config, comm::single(), at::kDouble);
  const auto wanted = score(alone.model, requests, 200, cpu);
  const auto vectors = embed(alone.model, texts, 200, cpu);
  for (const plan::Mesh& mesh : meshes(GetParam())) {
    const comm::MeshGroups groups(world().host(), mesh);
    Placed placed(config, groups, at::kDouble);
    std::vector<std::size_t> index, again;
    const auto got = score(placed.model, own_of(requests, groups.dp(), index), 70, cpu);
    const auto rows = embed(placed.model, own_of(texts, groups.dp(), again), 70, cpu);
    for (std::size_t i = 0; i < got.size(); ++i) {
      for (std::size_t c = 0; c < 3; ++c) {
        EXPECT_NEAR(got[i][c].log_likelihood, wanted[index[i]][c].log_likelihood, 1e-9);
        EXPECT_EQ(got[i][c].is_greedy, wanted[index[i]][c].is_greedy);
      }
      for (std::size_t d = 0; d < rows[i].size(); ++d) EXPECT_NEAR(rows[i][d], vectors[index[i]][d], 1e-6);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Layouts, testing::Values(false, true),
                         [](const auto& each) { return each.param ? "Mixtral" : "Mistral"; });

TEST(Generating, WhatFailsOnOneRankIsThrownOnAll) {
  const std::int64_t size = world().host().size();
  const auto config = small_model(true);
  for (const bool over_tp : {true, false}) {
    const comm::MeshGroups groups(world().host(), {.world = size,
                                                   .tp = over_tp ? size : 1,
                                                   .dp = over_tp ? 1 : size,
                                                   .ep = over_tp ? 1 : size,
                                                   .edp = over_tp ? size : 1});
    Placed placed(config, groups, at::kFloat);
    const bool fails = world().host().rank() == size - 1;
    EXPECT_THROW(generate(placed.model, tokenizer(), requests_of(6), 3, 90, c10::Device(c10::kCPU),
                          [&](std::size_t, const auto&) {
                            if (fails) throw StorageError("the disk is full");
                          }),
                 StorageError);
    auto requests = requests_of(6);
    if (!over_tp && fails) requests[2].prompt[0] = 4000;
    if (over_tp) requests[2].prompt[0] = 4000;
    EXPECT_THROW(generate(placed.model, tokenizer(), requests, 3, 90, c10::Device(c10::kCPU)), DataError);
  }
}

}  // namespace
}  // namespace osler::generate
