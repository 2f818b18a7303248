// Every layout of the ranks equals one rank: logits, each gradient, their norm and twenty training steps, for Mistral
// and Mixtral, packed documents, accumulation, router losses and every kind of recompute. Each rank computes the
// reference on its own, from the same keyed weights.
#include <gtest/gtest.h>

#include "ranks/train/layout_run.hpp"
#include "support/ranks_world.hpp"

namespace osler::train {
namespace {

constexpr std::int64_t kSteps = 20;

/// Everything whole and equal on all ranks.
struct Outcome {
  std::vector<at::Tensor> logits_TV;            ///< of the first step, by sequence
  std::map<std::string, at::Tensor> gradients;  ///< of the first step
  double grad_norm = 0;                         ///< of the first step
  std::vector<double> losses;
  std::map<std::string, at::Tensor> weights;  ///< after the last
};

comm::Group& ranks() {
  return tests::world().host();
}

Outcome outcome_of(const comm::MeshGroups& groups, bool is_mixture, config::Recompute recompute, at::ScalarType type) {
  LayoutRun run(small_model(is_mixture), groups, recompute, type, ranks().size() == 3 ? 6 : 8);
  Outcome outcome;
  outcome.losses.push_back(run.forward_backward(1, /*overlap=*/false, &outcome.logits_TV));
  outcome.gradients = run.whole_gradients();
  run.optimizer().reduce_gradients();
  outcome.grad_norm = run.finish_step(1);
  for (std::int64_t step = 2; step <= kSteps; ++step) outcome.losses.push_back(run.step(step));
  outcome.weights = run.whole_weights();
  return outcome;
}

const Outcome& one_rank(bool is_mixture, at::ScalarType type) {
  static std::map<std::pair<bool, at::ScalarType>, Outcome> known;
  Outcome& outcome = known[{is_mixture, type}];
  if (outcome.losses.empty()) outcome = outcome_of(comm::single(), is_mixture, config::Recompute::none, type);
  return outcome;
}

double distance(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor wide = b.to(at::kDouble);
  return ((a.to(at::kDouble) - wide).norm() / wide.norm().clamp_min(1e-30)).item<double>();
}

void expect_equal(const Outcome& outcome, const Outcome& expected, double tolerance) {
  ASSERT_EQ(outcome.logits_TV.size(), expected.logits_TV.size());
  for (std::size_t i = 0; i < expected.logits_TV.size(); ++i)
    EXPECT_LT(distance(outcome.logits_TV[i], expected.logits_TV[i]), tolerance) << "logits of sequence " << i;
  for (const auto& [name, gradient] : expected.gradients)
    EXPECT_LT(distance(outcome.gradients.at(name), gradient), tolerance) << "gradient of " << name;
  EXPECT_NEAR(outcome.grad_norm / expected.grad_norm, 1, tolerance);
  for (std::size_t step = 0; step < expected.losses.size(); ++step)
    EXPECT_NEAR(outcome.losses[step] / expected.losses[step], 1, tolerance) << "loss of step " << step + 1;
  // Adam divides by the root of a mean of squares: where a gradient is near zero, its rounding decides the sign.
  for (const auto& [name, weight] : expected.weights)
    EXPECT_LT(distance(outcome.weights.at(name), weight), 100 * tolerance) << "weights of " << name;
}

void expect_all_layouts_equal(bool is_mixture, at::ScalarType type, double tolerance) {
  const Outcome& expected = one_rank(is_mixture, type);
  for (const std::int64_t tp : {1, 2, 4}) {
    for (const std::int64_t ep : {1, 2, 4, 8}) {
      if (ranks().size() % tp != 0 || ranks().size() % ep != 0 || (!is_mixture && ep > 1)) continue;
      const comm::MeshGroups groups(ranks(), mesh_of(ranks().size(), tp, ep));
      for (const auto recompute : {config::Recompute::none, config::Recompute::selective, config::Recompute::full}) {
        SCOPED_TRACE(testing::Message() << "tp " << tp << " ep " << ep << " recompute " << config::name_of(recompute));
        expect_equal(outcome_of(groups, is_mixture, recompute, type), expected, tolerance);
      }
    }
  }
}

// Norms and the router's softmax are in fp32 also in fp64 models, row by row and so the same in every layout; sums
// across rows and ranks are in fp64.
TEST(Layouts, OfMistralEqualOneRankInFp64) {
  expect_all_layouts_equal(false, at::kDouble, 1e-9);
}
TEST(Layouts, OfMixtralEqualOneRankInFp64) {
  expect_all_layouts_equal(true, at::kDouble, 1e-9);
}
TEST(Layouts, OfMistralEqualOneRankInFp32) {
  expect_all_layouts_equal(false, at::kFloat, 1e-5);
}
TEST(Layouts, OfMixtralEqualOneRankInFp32) {
  expect_all_layouts_equal(true, at::kFloat, 1e-5);
}

// bf16 (unit roundoff u = 2^-9): layouts round partial products of tp ranks before they are added, one rank after. Each
// of the 2 layers' 2 blocks so adds an error of about u to the stream, and the backward pass as many again; roundings
// are independent, so that the norms of errors grow with the root of their number: 4 u of the logits, 8 u of a gradient
// cover them. A loss is a mean over rows. docs/numerics.md. Mixtral's top-k turns a rounding into another expert: its
// gradients have no such bound, only its losses are compared.
constexpr double kRoundoff = 1.0 / 512;

TEST(Layouts, OfMistralEqualOneRankInBf16) {
  const Outcome& expected = one_rank(false, at::kBFloat16);
  for (const std::int64_t tp : {1, 2, 4}) {
    if (ranks().size() % tp != 0) continue;
    const comm::MeshGroups groups(ranks(), mesh_of(ranks().size(), tp, 1));
    for (const auto recompute : {config::Recompute::none, config::Recompute::full}) {
      SCOPED_TRACE(testing::Message() << "tp " << tp << " recompute " << config::name_of(recompute));
      const Outcome outcome = outcome_of(groups, false, recompute, at::kBFloat16);
      for (std::size_t i = 0; i < expected.logits_TV.size(); ++i)
        EXPECT_LT(distance(outcome.logits_TV[i], expected.logits_TV[i]), 4 * kRoundoff);
      for (const auto& [name, gradient] : expected.gradients)
        EXPECT_LT(distance(outcome.gradients.at(name), gradient), 8 * kRoundoff) << name;
      EXPECT_NEAR(outcome.grad_norm / expected.grad_norm, 1, 8 * kRoundoff);
      for (std::size_t step = 0; step < expected.losses.size(); ++step)
        EXPECT_NEAR(outcome.losses[step] / expected.losses[step], 1, kRoundoff) << "step " << step + 1;
    }
  }
}

TEST(Layouts, OfMixtralTrainAsOneRankInBf16) {
  const Outcome& expected = one_rank(true, at::kBFloat16);
  for (const auto& [tp, ep] : {std::pair<std::int64_t, std::int64_t>{1, 1}, {2, 1}, {1, 2}, {2, 4}, {4, 8}}) {
    if (ranks().size() % tp != 0 || ranks().size() % ep != 0) continue;
    SCOPED_TRACE(testing::Message() << "tp " << tp << " ep " << ep);
    const comm::MeshGroups groups(ranks(), mesh_of(ranks().size(), tp, ep));
    const Outcome outcome = outcome_of(groups, true, config::Recompute::none, at::kBFloat16);
    for (std::size_t step = 0; step < expected.losses.size(); ++step)
      EXPECT_NEAR(outcome.losses[step] / expected.losses[step], 1, 4 * kRoundoff) << "step " << step + 1;
  }
}

}  // namespace
}  // namespace osler::train
