#include "optim/adamw.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace osler::optim {
namespace {

const std::vector<plan::ParameterSpec> kSpecs = {{.name = "a", .shape = {5, 7}},
                                                 {.name = "b", .shape = {3, 7}, .joins_previous = true},
                                                 {.name = "norm", .shape = {11}, .decay = false}};

config::OptimOptions options() {
  config::OptimOptions result;
  result.weight_decay = 0.3;
  result.eps = 1e-5;
  return result;
}

at::Tensor gradient_at(std::int64_t step, std::int64_t numel) {
  return at::cos(at::arange(numel, at::kDouble) * 0.37 + static_cast<double>(step));
}

/// One element's trajectory by the formula, one number at a time.
struct Scalar {
  double weight, exp_avg = 0, exp_avg_sq = 0;
  void step(const config::OptimOptions& o, std::int64_t step, double learning_rate, double gradient, bool decay) {
    weight -= learning_rate * (decay ? o.weight_decay : 0) * weight;
    exp_avg = o.beta1 * exp_avg + (1 - o.beta1) * gradient;
    exp_avg_sq = o.beta2 * exp_avg_sq + (1 - o.beta2) * gradient * gradient;
    const double mean = exp_avg / (1 - std::pow(o.beta1, static_cast<double>(step)));
    const double variance = exp_avg_sq / (1 - std::pow(o.beta2, static_cast<double>(step)));
    weight -= learning_rate * mean / (std::sqrt(variance) + o.eps);
  }
};

void expect_formula(at::ScalarType type, double tolerance) {
  parallel::ParameterStore store(kSpecs, at::TensorOptions().dtype(type));
  for (const auto& parameter : store.parameters())
    parameter.data.copy_(gradient_at(99, parameter.data.numel()).view(parameter.data.sizes()));
  AdamW optimizer(store, comm::single(), options());
  std::vector<std::vector<Scalar>> expected;
  for (const auto& parameter : store.parameters()) {
    const at::Tensor start = parameter.data.to(at::kDouble).view(-1);
    auto& elements = expected.emplace_back();
    for (std::int64_t i = 0; i < start.numel(); ++i) elements.push_back({start[i].item<double>()});
  }
  constexpr double kGradScale = 0.25;
  for (std::int64_t step = 1; step <= 10; ++step) {
    const double learning_rate = 0.01 * static_cast<double>(step);
    for (std::size_t p = 0; p < expected.size(); ++p) {
      const auto& parameter = store.parameters()[p];
      const at::Tensor gradient = gradient_at(step, parameter.data.numel());
      parameter.grad.copy_(gradient.view(parameter.data.sizes()));
      for (std::size_t i = 0; i < expected[p].size(); ++i) {
        expected[p][i].step(options(), step, learning_rate,
                            gradient[static_cast<std::int64_t>(i)].item<double>() * kGradScale, parameter.spec.decay);
      }
    }
    optimizer.reduce_gradients();
    optimizer.step(step, learning_rate, kGradScale);
  }
  // Masters, which for bf16 models are not the weights.
  std::size_t p = 0;
  for (const auto& master : optimizer.state()) {
    if (master.piece.name.rfind("optim/master/", 0) != 0) continue;
    const at::Tensor got = master.data.to(at::kDouble).view(-1);
    for (std::size_t i = 0; i < expected[p].size(); ++i) {
      EXPECT_NEAR(got[static_cast<std::int64_t>(i)].item<double>(), expected[p][i].weight, tolerance)
          << master.piece.name << " " << i;
    }
    EXPECT_TRUE(at::equal(master.data.to(type), store.parameters()[p].data)) << master.piece.name;
    ++p;
  }
  EXPECT_EQ(p, expected.size());
}

TEST(AdamW, FollowsTheFormulaInFp64) {
  expect_formula(at::kDouble, 1e-13);
}
// Ten updates, each with a handful of roundings of numbers near 1 in fp32: 10 * 8 * 6e-8.
TEST(AdamW, FollowsTheFormulaInFp32) {
  expect_formula(at::kFloat, 5e-6);
}
TEST(AdamW, KeepsFp32MastersOfBf16Weights) {
  expect_formula(at::kBFloat16, 5e-6);
}

TEST(AdamW, StateSharesMemoryAndPublishes) {
  parallel::ParameterStore store(kSpecs, at::TensorOptions().dtype(at::kBFloat16));
  AdamW optimizer(store, comm::single(), options());
  for (const auto& tensor : optimizer.state()) tensor.data.fill_(1.5);
  optimizer.publish_weights();
  for (const auto& parameter : store.parameters())
    EXPECT_TRUE(at::equal(parameter.data, at::full_like(parameter.data, 1.5)));
}

TEST(AdamW, GradNormIsTheNormAndKeepsNotANumber) {
  parallel::ParameterStore store({{.name = "big", .shape = {100, 101}}}, at::TensorOptions().dtype(at::kFloat));
  AdamW optimizer(store, comm::single(), options());
  const at::Tensor gradient = gradient_at(1, 10100);
  store["big"].grad.copy_(gradient.view({100, 101}));
  EXPECT_NEAR(optimizer.compute_grad_norm(), gradient.norm().item<double>(), 1e-4);
  store["big"].grad[99][100] = std::numeric_limits<float>::infinity();
  EXPECT_TRUE(std::isinf(optimizer.compute_grad_norm()));
  store["big"].grad[0][0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(optimizer.compute_grad_norm()));
}

TEST(Schedule, PassesThroughItsCorners) {
  config::OptimOptions o;
  o.learning_rate = 1;
  o.min_learning_rate = 0.1;
  o.warmup_steps = 10;
  o.decay_fraction = 0.2;
  using config::Schedule;
  struct Case {
    Schedule schedule;
    std::int64_t step;
    double rate;
  };
  for (const auto& c :
       std::vector<Case>{{Schedule::cosine, 1, 0.1},
                         {Schedule::cosine, 10, 1},
                         {Schedule::cosine, 55, 0.55},
                         {Schedule::cosine, 100, 0.1},
                         {Schedule::cosine, 200, 0.1},
                         {Schedule::cosine, 32, 1 - 0.9 * 0.5 * (1 - std::cos(std::acos(-1) * 22 / 90))},
                         {Schedule::linear, 5, 0.5},
                         {Schedule::linear, 55, 0.55},
                         {Schedule::linear, 100, 0.1},
                         {Schedule::constant, 100, 1},
                         {Schedule::wsd, 80, 1},
                         {Schedule::wsd, 90, 0.55},
                         {Schedule::wsd, 100, 0.1},
                         {Schedule::wsd, 11, 1}}) {
    o.schedule = c.schedule;
    EXPECT_NEAR(learning_rate_at(o, c.step, 100), c.rate, 1e-12) << static_cast<int>(c.schedule) << " at " << c.step;
  }
  o.warmup_steps = 0;
  o.schedule = Schedule::cosine;
  EXPECT_LT(learning_rate_at(o, 1, 100), 1.0);
  EXPECT_NEAR(learning_rate_at(o, 1, 1), 0.1, 1e-12);
}

}  // namespace
}  // namespace osler::optim
