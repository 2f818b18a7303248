#include "parallel/linear.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "base/error.hpp"
#include "parallel/embedding.hpp"
#include "parallel/row_product.hpp"
#include "parallel/token_dispatcher.hpp"

namespace osler::parallel {
namespace {

struct Precision {
  at::ScalarType type;
  double tolerance;  // of a product of about 40 terms of size 1: a few roundings
};
const Precision kPrecisions[] = {{at::kDouble, 1e-13}, {at::kFloat, 1e-5}, {at::kBFloat16, 2e-2}};

Parameter random_parameter(at::IntArrayRef shape, at::ScalarType type) {
  Parameter parameter;
  parameter.name = "w";
  parameter.spec = {.name = "w", .shape = shape.vec()};
  parameter.data = at::randn(shape, at::kDouble).to(type);
  parameter.grad = at::zeros(shape, type == at::kDouble ? at::kDouble : at::kFloat);
  return parameter;
}

double distance(const at::Tensor& a, const at::Tensor& b) {
  return ((a.to(at::kDouble) - b.to(at::kDouble)).norm() / b.to(at::kDouble).norm()).item<double>();
}

TEST(Linear, EqualsAutogradAndAccumulates) {
  at::manual_seed(1);
  for (const auto& [type, tolerance] : kPrecisions) {
    const Parameter w = random_parameter({7, 5}, type);
    const at::Tensor x = at::randn({11, 5}, at::kDouble).to(type).requires_grad_(true);
    const at::Tensor dy = at::randn({11, 7}, at::kDouble).to(type);
    const at::Tensor y = linear(x, w);
    for (int pass = 0; pass < 2; ++pass) linear(x, w).backward(dy);
    const at::Tensor x64 = x.detach().to(at::kDouble), w64 = w.data.to(at::kDouble), dy64 = dy.to(at::kDouble);
    EXPECT_LT(distance(y, x64.mm(w64.t())), tolerance);
    EXPECT_LT(distance(x.grad(), 2 * dy64.mm(w64)), tolerance);
    EXPECT_LT(distance(w.grad, 2 * dy64.t().mm(x64)), tolerance);
  }
}

TEST(RowProduct, EqualsTheProductWhateverTheRowsBeside) {
  for (const std::int64_t depth : {16, 48, 512, 3584}) {
    const at::Tensor weight = at::randn({20, depth}), x = at::randn({300, depth});
    if (!has_row_product(x, weight)) GTEST_SKIP() << "no AVX-512";
    const at::Tensor all = inference_product(x, weight), want = x.to(at::kDouble).mm(weight.to(at::kDouble).t());
    EXPECT_LT(distance(all, want), 1e-6);
    for (const std::int64_t rows : {1, 2, 3, 5, 6, 7, 8, 11, 13, 32, 37, 129})
      EXPECT_TRUE(at::equal(inference_product(x.narrow(0, 17, rows), weight), all.narrow(0, 17, rows))) << rows;
  }
  EXPECT_FALSE(has_row_product(at::randn({3, 20}), at::randn({8, 20})));
  EXPECT_FALSE(has_row_product(at::randn({3, 32}), at::randn({7, 32})));
  EXPECT_FALSE(has_row_product(at::randn({3, 32}), at::randn({32, 8}).t()));
  EXPECT_FALSE(has_row_product(at::randn({3, 32}, at::kDouble), at::randn({8, 32}, at::kDouble)));
}

TEST(Linear, RebuildsItsInputInsteadOfKeepingIt) {
  const Parameter w = random_parameter({3, 4}, at::kFloat);
  const at::Tensor leaf = at::randn({6, 4}).requires_grad_(true);
  int calls = 0;
  const at::Tensor kept = leaf.detach();
  at::Tensor y = linear(leaf * 2, w, [&] { return ++calls, kept * 2; });
  EXPECT_EQ(calls, 0);
  y.sum().backward();
  EXPECT_EQ(calls, 1);
  EXPECT_LT(distance(w.grad, at::ones({3, 6}).mm(kept * 2)), 1e-6);
}

TEST(Linear, RecordsNothingWithoutGradients) {
  Parameter w = random_parameter({3, 4}, at::kFloat);
  const at::Tensor x = at::randn({2, 4}).requires_grad_(true);
  {
    const at::NoGradGuard no_grad;
    EXPECT_FALSE(linear(x, w).requires_grad());
  }
  w.grad = at::Tensor();
  EXPECT_FALSE(VocabParallelEmbedding(w, comm::self_group())(at::tensor({0, 2})).requires_grad());
  const c10::InferenceMode inference;
  EXPECT_NO_THROW(linear(at::randn({2, 4}), w));
}

TEST(GroupedLinear, EqualsOneGemmPerExpertWithEmptyExperts) {
  at::manual_seed(2);
  const std::vector<std::int64_t> rows{3, 0, 5, 1, 0};
  for (const auto& [type, tolerance] : kPrecisions) {
    const Parameter w = random_parameter({5, 6, 4}, type);
    const at::Tensor x = at::randn({9, 4}, at::kDouble).to(type).requires_grad_(true);
    const at::Tensor y = GroupedLinear(w)(x, rows), dy = at::randn({9, 6}, at::kDouble).to(type);
    y.backward(dy);
    std::int64_t begin = 0;
    for (std::int64_t e = 0; e < 5; begin += rows[static_cast<std::size_t>(e)], ++e) {
      const std::int64_t n = rows[static_cast<std::size_t>(e)];
      if (n == 0) {
        EXPECT_EQ(w.grad[e].abs().max().item<double>(), 0);
        continue;
      }
      const at::Tensor xe = x.detach().narrow(0, begin, n).to(at::kDouble), we = w.data[e].to(at::kDouble);
      const at::Tensor de = dy.narrow(0, begin, n).to(at::kDouble);
      EXPECT_LT(distance(y.narrow(0, begin, n), xe.mm(we.t())), tolerance);
      EXPECT_LT(distance(x.grad().narrow(0, begin, n), de.mm(we)), tolerance);
      EXPECT_LT(distance(w.grad[e], de.t().mm(xe)), tolerance);
    }
  }
}

TEST(Embedding, AddsRowsOfRepeatedTokens) {
  for (const auto& [type, tolerance] : kPrecisions) {
    const Parameter table = random_parameter({5, 3}, type);
    const at::Tensor tokens = at::tensor({4, 1, 4, 4}, at::kLong);
    const at::Tensor y = VocabParallelEmbedding(table, comm::self_group())(tokens),
                     dy = at::randn({4, 3}, at::kDouble).to(type);
    EXPECT_TRUE(at::equal(y, table.data.index_select(0, tokens)));
    y.backward(dy);
    const at::Tensor d = dy.to(at::kDouble);
    EXPECT_LT(distance(table.grad[4], d[0] + d[2] + d[3]), tolerance);
    EXPECT_LT(distance(table.grad[1], d[1]), tolerance);
    EXPECT_EQ(table.grad[0].abs().max().item<double>(), 0);
  }
}

TEST(Embedding, RefusesTokensOutsideTheTable) {
  const VocabParallelEmbedding embedding(random_parameter({5, 3}, at::kFloat), comm::self_group());
  EXPECT_THROW(embedding(at::tensor({0, 5}, at::kLong)), DataError);
  EXPECT_THROW(embedding(at::tensor({-1}, at::kLong)), DataError);
  EXPECT_EQ(embedding(at::empty({0}, at::kLong)).size(0), 0);
}

TEST(TokenDispatcher, SendsEveryChoiceOnceAndBringsItBack) {
  at::manual_seed(3);
  for (const auto& [type, tolerance] : kPrecisions) {
    for (const std::int64_t top_k : {1, 2, 3}) {
      const std::int64_t experts = 6, tokens = 17, width = 21;  // odd width: the tail of the row loops
      const at::Tensor expert =
          std::get<1>(at::topk(at::rand({tokens, experts - 1}), top_k, -1));  // the last one gets none
      const TokenDispatcher dispatcher(expert, experts, comm::self_group());
      std::int64_t total = 0;
      for (const auto n : dispatcher.rows_E()) total += n;
      EXPECT_EQ(total, tokens * top_k);
      EXPECT_EQ(dispatcher.rows_E().back(), 0);
      const at::Tensor x = at::randn({tokens, width}, at::kDouble).to(type).requires_grad_(true);
      const at::Tensor weight = at::rand({tokens, top_k}, at::kDouble).requires_grad_(true);
      const at::Tensor sorted = dispatcher.dispatch(x), sorted_weight = dispatcher.dispatch_weights(weight);
      const at::Tensor scaled = (sorted * sorted_weight.unsqueeze(1)).to(type);
      const at::Tensor back = dispatcher.combine(scaled);
      const at::Tensor expected = x.detach().to(at::kDouble) * weight.detach().sum(1, true);
      EXPECT_LT(distance(back, expected), tolerance);
      const at::Tensor dout = at::randn({tokens, width}, at::kDouble).to(type);
      back.backward(dout);
      EXPECT_LT(distance(x.grad(), dout.to(at::kDouble) * weight.detach().sum(1, true)), tolerance);
      const at::Tensor dot = (dout.to(at::kDouble) * x.detach().to(at::kDouble)).sum(1, true).expand({tokens, top_k});
      EXPECT_LT(distance(weight.grad(), dot), 3 * tolerance);
    }
  }
}

TEST(TokenDispatcher, PaddingOfLargeExpertsAddsNothing) {
  at::manual_seed(4);
  const std::int64_t tokens = 601;
  const at::Tensor expert = at::stack({at::zeros({tokens}, at::kLong), at::arange(tokens).remainder(7) + 1}, 1);
  const TokenDispatcher dispatcher(expert, 8, comm::self_group());
  EXPECT_EQ(dispatcher.rows_E()[0], 608);  // 601 up to a multiple of 32
  EXPECT_EQ(dispatcher.rows_E()[1], 86);   // small experts stay as they are
  const Parameter w = random_parameter({8, 5, 6}, at::kDouble);
  const at::Tensor x = at::randn({tokens, 6}, at::kDouble).requires_grad_(true);
  const at::Tensor weight = at::rand({tokens, 2}, at::kDouble).requires_grad_(true);
  const at::Tensor rows = dispatcher.dispatch(x) * dispatcher.dispatch_weights(weight).unsqueeze(1);
  const at::Tensor out = dispatcher.combine(GroupedLinear(w)(rows, dispatcher.rows_E()));
  const at::Tensor dout = at::randn({tokens, 5}, at::kDouble);
  out.backward(dout);
  const at::Tensor x2 = x.detach().requires_grad_(true), weight2 = weight.detach().requires_grad_(true);
  const at::Tensor w2 = w.data.clone().requires_grad_(true);
  const at::Tensor all = at::einsum("efd,td->tef", {w2, x2});
  const at::Tensor chosen = all.gather(1, expert.unsqueeze(2).expand({tokens, 2, 5}));
  const at::Tensor want = (chosen * weight2.unsqueeze(2)).sum(1);
  want.backward(dout);
  EXPECT_LT(distance(out, want.detach()), 1e-13);
  EXPECT_LT(distance(x.grad(), x2.grad()), 1e-13);
  EXPECT_LT(distance(weight.grad(), weight2.grad()), 1e-13);
  EXPECT_LT(distance(w.grad, w2.grad()), 1e-13);
}

TEST(TokenDispatcher, RowsOfOneExpertKeepTheOrderOfTokens) {
  const TokenDispatcher dispatcher(at::tensor({1, 0, 1, 1, 0}, at::kLong).unsqueeze(1), 2, comm::self_group());
  const at::Tensor sorted = dispatcher.dispatch(at::arange(5, at::kFloat).unsqueeze(1)).squeeze(1);
  EXPECT_TRUE(at::equal(sorted, at::tensor({1, 4, 0, 2, 3}, at::kFloat)));
}

}  // namespace
}  // namespace osler::parallel
