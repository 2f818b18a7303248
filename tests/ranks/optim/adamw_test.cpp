// The sharded optimizer against one rank that holds everything.
#include "optim/adamw.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "support/ranks_world.hpp"

namespace osler::optim {
namespace {

comm::Group& dp() {
  return tests::world().host();
}

/// All ranks along dp.
const comm::MeshGroups& groups() {
  static const comm::MeshGroups all(dp(), {.world = dp().size(), .dp = dp().size(), .edp = dp().size()});
  return all;
}

// Odd shapes, so that parts begin and end inside rows, and a norm that no part boundary respects.
const std::vector<plan::ParameterSpec> kSpecs = {{.name = "a", .shape = {13, 7, 3}},
                                                 {.name = "b", .shape = {3, 7}, .joins_previous = true},
                                                 {.name = "c", .shape = {50, 9}},
                                                 {.name = "norm", .shape = {77}, .decay = false}};

at::Tensor global_gradient(const parallel::Parameter& parameter, std::int64_t step) {
  return at::cos(at::arange(parameter.data.numel(), at::kDouble) * 0.37 +
                 static_cast<double>(step + parameter.data.numel()))
      .view(parameter.data.sizes());
}

void set_weights(parallel::ParameterStore& store) {
  for (const auto& parameter : store.parameters()) parameter.data.copy_(global_gradient(parameter, 1000));
}

/// Ten steps where each of `num_ranks` ranks holds its share of the global gradient, as micro-batches would.
void train(parallel::ParameterStore& store, AdamW& optimizer, int num_ranks, int rank) {
  for (std::int64_t step = 1; step <= 10; ++step) {
    for (const auto& parameter : store.parameters()) {
      const double share = static_cast<double>(rank + 1) / (num_ranks * (num_ranks + 1) / 2);
      parameter.grad.copy_(global_gradient(parameter, step) * share);
    }
    optimizer.reduce_gradients();
    optimizer.step(step, 0.01, 1 / std::max(1.0, optimizer.compute_grad_norm()));
  }
}

TEST(ShardedAdamW, TenStepsEqualThoseOfOneRank) {
  parallel::ParameterStore sharded(kSpecs, at::TensorOptions().dtype(at::kDouble), {.dense = dp().size()});
  set_weights(sharded);
  AdamW optimizer(sharded, groups(), {});
  train(sharded, optimizer, dp().size(), dp().rank());

  parallel::ParameterStore whole(kSpecs, at::TensorOptions().dtype(at::kDouble));
  set_weights(whole);
  AdamW reference(whole, comm::single(), {});
  train(whole, reference, 1, 0);
  for (const auto& parameter : whole.parameters()) {
    EXPECT_LT((parameter.data - sharded[parameter.name].data).abs().max().item<double>(), 1e-12) << parameter.name;
  }
}

TEST(ShardedAdamW, Bf16WeightsAreTheRoundedMastersOnEveryRank) {
  parallel::ParameterStore store(kSpecs, at::TensorOptions().dtype(at::kBFloat16), {.dense = dp().size()});
  set_weights(store);
  AdamW optimizer(store, groups(), {});
  train(store, optimizer, dp().size(), dp().rank());
  at::Tensor lowest = store.data().clone();
  at::Tensor highest = store.data().clone();
  dp().all_reduce(lowest, comm::ReduceOp::min);
  dp().all_reduce(highest, comm::ReduceOp::max);
  EXPECT_TRUE(at::equal(lowest, highest));
  for (const auto& tensor : optimizer.state()) {
    const std::string prefix = "optim/master/";
    if (tensor.piece.name.rfind(prefix, 0) != 0) continue;
    at::Tensor weight = store[tensor.piece.name.substr(prefix.size())].data;
    for (std::size_t dim = 0; dim < tensor.piece.extent.size(); ++dim) {
      weight = weight.narrow(static_cast<std::int64_t>(dim), tensor.piece.offset[dim], tensor.piece.extent[dim]);
    }
    EXPECT_TRUE(at::equal(weight, tensor.data.to(at::kBFloat16))) << tensor.piece.name;
  }
}

TEST(ShardedAdamW, StateTilesEveryTensorExactlyOnce) {
  parallel::ParameterStore store(kSpecs, at::TensorOptions().dtype(at::kFloat), {.dense = dp().size()});
  AdamW optimizer(store, groups(), {});
  std::map<std::string, at::Tensor> times_covered;
  for (const std::string group : {"master", "exp_avg", "exp_avg_sq"}) {
    for (const auto& parameter : store.parameters()) {
      times_covered["optim/" + group + "/" + parameter.name] = at::zeros(parameter.data.sizes(), at::kLong);
    }
  }
  for (const auto& tensor : optimizer.state()) {
    at::Tensor covered = times_covered.at(tensor.piece.name);
    EXPECT_EQ(covered.sizes().vec(), tensor.piece.global_shape);
    EXPECT_EQ(tensor.data.sizes().vec(), tensor.piece.extent);
    EXPECT_TRUE(tensor.data.is_contiguous());
    for (std::size_t dim = 0; dim < tensor.piece.extent.size(); ++dim) {
      covered = covered.narrow(static_cast<std::int64_t>(dim), tensor.piece.offset[dim], tensor.piece.extent[dim]);
    }
    covered.add_(1);
  }
  for (auto& [name, covered] : times_covered) {
    dp().all_reduce(covered, comm::ReduceOp::sum);
    EXPECT_TRUE(at::equal(covered, at::ones_like(covered))) << name;
  }
}

TEST(ShardedAdamW, NormAndNonFiniteAreSeenByAllRanks) {
  parallel::ParameterStore store(kSpecs, at::TensorOptions().dtype(at::kFloat), {.dense = dp().size()});
  AdamW optimizer(store, groups(), {});
  double squares = 0;
  for (const auto& parameter : store.parameters()) {
    parameter.grad.copy_(global_gradient(parameter, 1) / dp().size());
    squares += global_gradient(parameter, 1).square().sum().item<double>();
  }
  optimizer.reduce_gradients();
  const double norm = optimizer.compute_grad_norm();
  EXPECT_NEAR(norm, std::sqrt(squares), 1e-5 * norm);
  EXPECT_EQ(dp().all_reduce_value(norm, comm::ReduceOp::min), dp().all_reduce_value(norm, comm::ReduceOp::max));
  for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    for (int culprit = 0; culprit < dp().size(); ++culprit) {
      store.zero_grad();
      if (dp().rank() == culprit) store["norm"].grad[76] = bad;
      optimizer.reduce_gradients();
      EXPECT_FALSE(std::isfinite(optimizer.compute_grad_norm())) << "rank " << culprit << " had " << bad;
    }
  }
}

}  // namespace
}  // namespace osler::optim
