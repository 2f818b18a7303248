// Tokens reach experts on other ranks and come back, however unevenly they choose: all to one expert, so that every
// other rank's experts are empty, or ranks without any token.
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "comm/mesh_groups.hpp"
#include "parallel/token_dispatcher.hpp"
#include "support/ranks_world.hpp"

namespace osler::train {
namespace {

comm::Group& ep() {
  return tests::world().host();
}

/// Two experts a rank; expert e multiplies by e + 1. What comes back is the weighted sum over a token's two experts.
void expect_choices_come_back(const at::Tensor& expert_TK) {
  const std::int64_t num_experts = 2 * ep().size(), width = 5;
  const at::Tensor x = at::randn({expert_TK.size(0), width}, at::kDouble).requires_grad_(true);
  const at::Tensor weight = at::rand({expert_TK.size(0), 2}, at::kDouble).requires_grad_(true);
  const parallel::TokenDispatcher dispatcher(expert_TK, num_experts, ep());
  std::vector<at::Tensor> factors;
  for (std::int64_t local = 0; local < 2; ++local)
    factors.push_back(at::full({dispatcher.rows_E()[static_cast<std::size_t>(local)], 1},
                               static_cast<double>(2 * ep().rank() + local + 1), at::kDouble));
  const at::Tensor rows = dispatcher.dispatch(x) * at::cat(factors) * dispatcher.dispatch_weights(weight).unsqueeze(1);
  const at::Tensor y = dispatcher.combine(rows);

  const at::Tensor scale = (weight * (expert_TK + 1)).sum(1, /*keepdim=*/true);
  EXPECT_TRUE(at::allclose(y, x * scale, 1e-12, 1e-12));
  const at::Tensor dy = at::randn(y.sizes(), at::kDouble);
  y.backward(dy);
  EXPECT_TRUE(at::allclose(x.grad(), dy * scale, 1e-12, 1e-12));
  EXPECT_TRUE(at::allclose(weight.grad(), (dy * x).sum(1, true) * (expert_TK + 1), 1e-12, 1e-12));
}

TEST(DispatchOverRanks, AllTokensToTheLastRanksExperts) {
  const std::int64_t last = 2 * ep().size() - 1;
  expect_choices_come_back(at::tensor({last, last - 1}, at::kLong).expand({7, 2}));
}

TEST(DispatchOverRanks, ManyRowsOfOneExpertArePadded) {
  expect_choices_come_back(at::tensor({0, 1}, at::kLong).expand({301 + ep().rank(), 2}));
}

TEST(DispatchOverRanks, RanksWithoutTokensTakePart) {
  const std::int64_t num_tokens = ep().rank() == 0 ? 4 : 0;
  const at::Tensor first = at::arange(num_tokens, at::kLong).remainder(2 * ep().size());
  expect_choices_come_back(at::stack({first, (first + 1).remainder(2 * ep().size())}, 1));
}

}  // namespace
}  // namespace osler::train
