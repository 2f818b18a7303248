#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>

#include "base/error.hpp"
#include "loss/cross_entropy.hpp"
#include "loss/router_loss.hpp"

namespace osler::loss {
namespace {

struct Case {
  at::ScalarType type;
  std::int64_t rows, vocab;
  double tolerance;  // of loss and gradients; bf16: logits are rounded to 8 bits
};
// 1024 rows of so small a vocabulary make a chunk: below, at, and across its edge; vocabularies with and without a tail
// of the 16-lane loops.
const Case kCases[] = {{at::kDouble, 5, 33, 1e-12},    {at::kDouble, 1025, 64, 1e-12}, {at::kFloat, 1, 7, 1e-5},
                       {at::kFloat, 1024, 33, 1e-5},   {at::kFloat, 1030, 64, 1e-5},   {at::kBFloat16, 9, 33, 2e-2},
                       {at::kBFloat16, 1030, 64, 2e-2}};

double distance(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor wide = b.to(at::kDouble);
  return ((a.to(at::kDouble) - wide).norm() / wide.norm().clamp_min(1e-30)).item<double>();
}

struct Problem {
  at::Tensor hidden, labels;
  parallel::Parameter head;
};

Problem random_problem(const Case& c, std::int64_t width = 12) {
  Problem problem;
  problem.hidden = at::randn({c.rows, width}, at::kDouble).to(c.type).requires_grad_(true);
  problem.labels = at::randint(c.vocab, {c.rows}, at::kLong);
  problem.labels.masked_fill_(at::rand({c.rows}).lt(0.25), kIgnoreLabel);
  problem.labels[0] = 1;
  problem.head.data = at::randn({c.vocab, width}, at::kDouble).to(c.type);
  problem.head.spec = {.name = "head", .shape = {c.vocab, width}};
  problem.head.grad = at::zeros({c.vocab, width}, c.type == at::kDouble ? at::kDouble : at::kFloat);
  return problem;
}

TEST(CrossEntropy, EqualsTheWholeSoftmaxAndItsGradients) {
  at::manual_seed(1);
  for (const auto& c : kCases) {
    Problem problem = random_problem(c);
    const at::Tensor hidden = problem.hidden.detach().to(at::kDouble).requires_grad_(true);
    const at::Tensor head = problem.head.data.to(at::kDouble).requires_grad_(true);
    const at::Tensor want = at::cross_entropy_loss(hidden.mm(head.t()), problem.labels, {}, 2 /* sum */, kIgnoreLabel);
    (want * 0.125).backward();
    const LossSum got = cross_entropy(problem.hidden, problem.head, problem.labels, 0.125);
    const at::Tensor objective = got.scaled + problem.hidden.sum() * 0;  // other terms may be added
    objective.backward();
    EXPECT_EQ(got.num_tokens, problem.labels.ne(kIgnoreLabel).sum().item<std::int64_t>());
    EXPECT_LT(distance(got.sum, want.detach()), c.tolerance);
    EXPECT_LT(distance(got.loss_R.sum(), want.detach()), c.tolerance);
    EXPECT_LT(distance(got.scaled.detach() * 8, got.sum), 1e-6);
    EXPECT_LT(distance(problem.hidden.grad(), hidden.grad()), c.tolerance) << c.rows;
    EXPECT_LT(distance(problem.head.grad, head.grad()), c.tolerance) << c.rows;
    EXPECT_EQ(got.loss_R.masked_select(problem.labels.eq(kIgnoreLabel)).abs().sum().item<double>(), 0);
    EXPECT_EQ(
        problem.hidden.grad().masked_fill(problem.labels.ne(kIgnoreLabel).unsqueeze(1), 0).abs().sum().item<double>(),
        0);
    cross_entropy(problem.hidden, problem.head, problem.labels, 0.125).scaled.backward();  // adds
    EXPECT_LT(distance(problem.head.grad, 2 * head.grad()), c.tolerance);
  }
}

TEST(CrossEntropy, WithoutGradientsTouchesNoGradient) {
  Problem problem = random_problem({at::kFloat, 20, 33, 0});
  const at::NoGradGuard no_grad;
  const LossSum loss = cross_entropy(problem.hidden, problem.head, problem.labels, 1);
  EXPECT_FALSE(loss.scaled.requires_grad());
  EXPECT_EQ(problem.head.grad.abs().max().item<float>(), 0);
  EXPECT_GT(loss.sum.item<float>(), 0);
}

TEST(CrossEntropy, AllIgnoredIsZero) {
  Problem problem = random_problem({at::kFloat, 20, 33, 0});
  problem.labels.fill_(kIgnoreLabel);
  const LossSum loss = cross_entropy(problem.hidden, problem.head, problem.labels, 1);
  loss.scaled.backward();
  EXPECT_EQ(loss.num_tokens, 0);
  EXPECT_EQ(loss.sum.item<float>(), 0);
  EXPECT_EQ(problem.hidden.grad().abs().max().item<float>(), 0);
}

TEST(CrossEntropy, LargeLogitsStayFiniteAndNotANumberShows) {
  for (const auto type : {at::kDouble, at::kFloat, at::kBFloat16}) {
    Problem problem = random_problem({type, 3, 33, 0});
    problem.head.data.mul_(1e4);
    const LossSum large = cross_entropy(problem.hidden, problem.head, problem.labels, 1);
    EXPECT_TRUE(std::isfinite(large.sum.item<double>()));
    EXPECT_TRUE(problem.head.grad.isfinite().all().item<bool>());
    const at::Tensor broken = problem.hidden.detach().clone();
    broken[0][3] = NAN;
    EXPECT_TRUE(std::isnan(cross_entropy(broken, problem.head, problem.labels, 1).sum.item<double>()));
    broken[0][3] = INFINITY;
    EXPECT_FALSE(std::isfinite(cross_entropy(broken, problem.head, problem.labels, 1).sum.item<double>()));
  }
}

TEST(CrossEntropy, RefusesMisuse) {
  Problem problem = random_problem({at::kFloat, 4, 33, 0});
  EXPECT_THROW((cross_entropy(problem.hidden, problem.head, problem.labels, 1).scaled * 2).backward(), InternalError);
  problem.labels[2] = 33;
  EXPECT_THROW(cross_entropy(problem.hidden, problem.head, problem.labels, 1), DataError);
  problem.labels[2] = -1;
  EXPECT_THROW(cross_entropy(problem.hidden, problem.head, problem.labels, 1), DataError);
}

TEST(TokenLogProbs, EqualsLogSoftmaxAndNamesTheArgmax) {
  at::manual_seed(2);
  for (const auto& c : kCases) {
    const Problem problem = random_problem(c);
    const at::Tensor logits = problem.hidden.detach().mm(problem.head.data.t());
    const at::Tensor index = problem.labels.clamp_min(0).unsqueeze(1), ignored = problem.labels.eq(kIgnoreLabel);
    const at::Tensor want =
        at::log_softmax(logits, -1, at::kDouble).gather(1, index).squeeze(1).masked_fill(ignored, 0);
    const auto [log_p, is_top] = token_log_probs(problem.hidden, problem.head, problem.labels);
    EXPECT_LT(distance(log_p, want), 1e-5);  // the same rounded logits on both sides
    EXPECT_TRUE(at::equal(is_top, logits.argmax(-1).eq(problem.labels)));
  }
}

TEST(RouterLoss, BalancedValues) {
  // Uniform logits, and choices that go round robin: every expert gets the same share.
  const std::int64_t experts = 4, top_k = 2, rows = 8;
  const at::Tensor logits = at::full({rows, experts}, 0.5, at::kDouble);
  const at::Tensor expert = at::arange(rows * top_k).remainder(experts).view({rows, top_k});
  const std::vector<at::Tensor> layers{logits, logits, logits}, choices{expert, expert, expert};
  const RouterLoss hf = router_loss(layers, choices, experts, top_k, config::AuxLoss::hf, true);
  EXPECT_NEAR(hf.aux.item<double>(), 2, 1e-6);  // top_k
  EXPECT_NEAR(hf.z.item<double>(), 3 * std::pow(0.5 + std::log(4.0), 2), 1e-9);
  const RouterLoss megatron = router_loss(layers, choices, experts, top_k, config::AuxLoss::megatron, false);
  EXPECT_NEAR(megatron.aux.item<double>(), 3, 1e-6);  // 1 per layer
  EXPECT_FALSE(megatron.z.defined());
  EXPECT_FALSE(router_loss(layers, choices, experts, top_k, config::AuxLoss::off, false).aux.defined());
  EXPECT_FALSE(router_loss({}, {}, experts, top_k, config::AuxLoss::hf, true).aux.defined());
}

TEST(RouterLoss, MegatronPerLayerByHandAndDifferentiable) {
  at::manual_seed(3);
  const at::Tensor logits = at::randn({5, 3}, at::kDouble).requires_grad_(true);
  const at::Tensor expert = at::tensor({0, 0, 0, 0, 1}, at::kLong).unsqueeze(1);
  const at::Tensor aux = router_loss({logits}, {expert}, 3, 1, config::AuxLoss::megatron, false).aux;
  const at::Tensor p = at::softmax(logits.detach(), -1).sum(0);
  EXPECT_NEAR(aux.item<double>(), 3.0 / 25 * (4 * p[0] + 1 * p[1]).item<double>(), 1e-12);
  aux.backward();
  EXPECT_GT(logits.grad().narrow(1, 0, 1).sum().item<double>(), 0);  // pushes down the crowded expert
}

}  // namespace
}  // namespace osler::loss
