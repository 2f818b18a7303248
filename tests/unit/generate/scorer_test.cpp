#include "generate/scorer.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <map>

#include "base/error.hpp"
#include "base/random.hpp"
#include "generate/score_batch.hpp"
#include "loss/cross_entropy.hpp"
#include "plan/parameter_specs.hpp"

namespace osler::generate {
namespace {

config::ModelConfig tiny_config(bool is_mixture) {
  config::ModelConfig config;
  config.is_mixture = is_mixture;
  config.vocab_size = 50;
  config.hidden_size = 16;
  config.intermediate_size = 24;
  config.num_layers = 2;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 4;
  config.max_position_embeddings = 24;
  config.rms_norm_eps = 1e-5;
  config.rope_theta = 10000;
  config.sliding_window = 9;  // shorter than the longest request: the window must count from a continuation's positions
  config.initializer_range = 0.4;  // far from uniform, so that mistakes show
  if (is_mixture) {
    config.num_experts = 4;
    config.top_k = 2;
  }
  return config;
}

std::vector<int> random_ids(RandomStream& stream, std::size_t length) {
  std::vector<int> ids;
  for (std::size_t i = 0; i < length; ++i) ids.push_back(static_cast<int>(stream.below(50)));
  return ids;
}

std::vector<ScoreRequest> random_requests() {
  RandomStream stream(7, Purpose::test);
  std::vector<ScoreRequest> requests;
  for (const std::size_t length : {5u, 1u, 17u, 12u, 30u, 23u, 24u}) {
    ScoreRequest request;
    request.context = random_ids(stream, length);
    for (const std::size_t tokens : {1u, 1u, 3u, 6u}) request.continuations.push_back(random_ids(stream, tokens));
    requests.push_back(request);
  }
  return requests;
}

/// lm-eval's way: one plain sequence per continuation, the last max_length + 1 tokens less the last one.
double plain_score(model::Model& model, const std::vector<int>& context, const std::vector<int>& continuation) {
  std::vector<std::int64_t> ids(context.begin(), context.end());
  ids.insert(ids.end(), continuation.begin(), continuation.end());
  const std::size_t keep = static_cast<std::size_t>(model.config().max_position_embeddings) + 1;
  if (ids.size() > keep) ids.erase(ids.begin(), ids.end() - static_cast<std::ptrdiff_t>(keep));
  const auto rows = static_cast<std::int64_t>(ids.size()) - 1;
  const at::Tensor all = at::tensor(ids, at::kLong);
  const model::AttentionLayout layout{{{0, rows, 0, 0}}, rows};
  const auto output = model.forward(all.slice(0, 0, rows), at::arange(rows, at::kLong), layout);
  const auto count = static_cast<std::int64_t>(continuation.size());
  const at::Tensor log_probs = at::log_softmax(at::matmul(output.hidden_RD, model.head().data.t()).to(at::kDouble), -1);
  return log_probs.slice(0, rows - count, rows)
      .gather(1, all.slice(0, rows + 1 - count, rows + 1).unsqueeze(1))
      .sum()
      .item<double>();
}

class Scorer : public testing::TestWithParam<bool> {};

TEST_P(Scorer, EqualsPlainSequencesWhateverTheBatch) {
  const at::NoGradGuard no_grad;
  const config::ModelConfig config = tiny_config(GetParam());
  parallel::ParameterStore parameters(plan::parameter_specs(config), at::TensorOptions(at::kDouble));
  model::initialize(parameters, config, 3);
  model::Model model(config, parameters, config::Recompute::none);
  const std::vector<ScoreRequest> requests = random_requests();
  for (const std::int64_t batch_tokens : {1, 40, 100000}) {
    std::vector<std::size_t> finished;
    const auto scores = score(model, requests, batch_tokens, c10::Device(c10::kCPU),
                              [&](std::size_t request, const auto&) { finished.push_back(request); });
    ASSERT_EQ(scores.size(), requests.size());
    EXPECT_EQ(finished.size(), requests.size());
    for (std::size_t r = 0; r < requests.size(); ++r)
      for (std::size_t c = 0; c < requests[r].continuations.size(); ++c)
        EXPECT_NEAR(scores[r][c].log_likelihood, plain_score(model, requests[r].context, requests[r].continuations[c]),
                    1e-9)
            << "request " << r << " continuation " << c << " batch " << batch_tokens;
  }
}

TEST_P(Scorer, GreedyIsTheArgmaxOfEveryToken) {
  const at::NoGradGuard no_grad;
  const config::ModelConfig config = tiny_config(GetParam());
  parallel::ParameterStore parameters(plan::parameter_specs(config), at::TensorOptions(at::kDouble));
  model::initialize(parameters, config, 3);
  model::Model model(config, parameters, config::Recompute::none);
  ScoreRequest request{{1, 2, 3}, {}};
  for (int token = 0; token < 50; ++token) request.continuations.push_back({token});
  const auto first = score(model, {request}, 100, c10::Device(c10::kCPU)).front();
  int greedy = -1;
  for (int token = 0; token < 50; ++token) {
    if (!first[static_cast<std::size_t>(token)].is_greedy) continue;
    EXPECT_EQ(greedy, -1) << "two argmaxes";
    greedy = token;
  }
  ASSERT_GE(greedy, 0);
  for (const auto& one : first) EXPECT_LE(one.log_likelihood, first[static_cast<std::size_t>(greedy)].log_likelihood);
}

INSTANTIATE_TEST_SUITE_P(Models, Scorer, testing::Values(false, true),
                         [](const auto& each) { return each.param ? "Mixtral" : "Mistral"; });

TEST(ScoreBatch, OneTokenContinuationsAddNoRows) {
  const std::vector<ScoreRequest> requests = {{{1, 2, 3}, {{7}, {8}, {9, 10, 11}}}};
  const auto units = plan_units(requests, 100);
  ASSERT_EQ(units.size(), 1u);
  const ScoreBatch batch = build_batch(requests, units, 0, 1);
  EXPECT_EQ(batch.tokens, (std::vector<std::int64_t>{1, 2, 3, 9, 10}));
  EXPECT_EQ(batch.positions, (std::vector<std::int64_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(batch.head_rows, (std::vector<std::int64_t>{2, 2, 2, 3, 4}));
  EXPECT_EQ(batch.labels, (std::vector<std::int64_t>{7, 8, 9, 10, 11}));
  ASSERT_EQ(batch.layout.segments.size(), 2u);
  EXPECT_EQ(batch.layout.segments[1].begin, 3);
  EXPECT_EQ(batch.layout.segments[1].prefix_length, 3);
}

TEST(ScoreBatch, CutsTooLongContextsFromTheLeftPerContinuation) {
  const std::vector<ScoreRequest> requests = {{{1, 2, 3, 4, 5}, {{7}, {8, 9}, {6}}}};
  const auto units = plan_units(requests, 5);  // 6 tokens fit with the last one only predicted
  ASSERT_EQ(units.size(), 2u);
  std::map<std::int64_t, std::vector<std::size_t>> by_cut;
  for (const ScoreUnit& unit : units) by_cut[unit.context_begin] = unit.continuations;
  EXPECT_EQ(by_cut[0], (std::vector<std::size_t>{0, 2}));
  EXPECT_EQ(by_cut[1], (std::vector<std::size_t>{1}));
  EXPECT_THROW(plan_units({{{1}, {{1, 2, 3, 4, 5, 6}}}}, 5), DataError);
  EXPECT_THROW(plan_units({{{}, {{1}}}}, 5), InternalError);
}

}  // namespace
}  // namespace osler::generate
