// The fused row kernels (fp32, bf16) against LibTorch's operations, which fp64 tensors take.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <limits>

#include "model/gated_product.hpp"
#include "model/norm.hpp"
#include "model/rope.hpp"
#include "parallel/rows.hpp"

namespace osler::model {
namespace {

struct Case {
  at::ScalarType type;
  std::int64_t rows, width;
  double tolerance;  // fp32: a row's sum of up to 515 terms; bf16: three roundings of 2^-9 on the way
};
const Case kCases[] = {{at::kFloat, 5, 3, 2e-6},         {at::kFloat, 300, 64, 2e-6},
                       {at::kFloat, 7, 515, 2e-6},       {at::kBFloat16, 5, 3, 1.5e-2},
                       {at::kBFloat16, 300, 64, 1.5e-2}, {at::kBFloat16, 7, 515, 1.5e-2}};

at::Tensor random(at::IntArrayRef shape, at::ScalarType type) {
  return at::randn(shape, at::kDouble).to(type);
}
at::Tensor wide(const at::Tensor& tensor) {
  return tensor.detach().to(at::kDouble);
}
double distance(const at::Tensor& a, const at::Tensor& b) {
  return ((wide(a) - wide(b)).norm() / wide(b).norm().clamp_min(1e-30)).item<double>();
}

parallel::Parameter norm_weight(const at::Tensor& values) {
  parallel::Parameter weight;
  weight.data = values;
  weight.grad = at::zeros(values.sizes(), values.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
  return weight;
}

TEST(AddAndNorm, HostRowsEqualLibTorch) {
  at::manual_seed(1);
  for (const auto& c : kCases) {
    for (const bool with_delta : {true, false}) {
      const at::Tensor x = random({c.rows, c.width}, c.type), delta = random({c.rows, c.width}, c.type);
      const at::Tensor values = random({c.width}, c.type), dy = random({c.rows, c.width}, c.type);
      const at::Tensor dsum = random({c.rows, c.width}, c.type);
      const auto run = [&](at::ScalarType type) {
        const parallel::Parameter weight = norm_weight(values.to(type));
        const at::Tensor xi = x.to(type, false, true).requires_grad_(true),
                         di = delta.to(type, false, true).requires_grad_(true);
        const Normed out = add_and_norm(xi, with_delta ? di : at::Tensor(), weight, 1e-5);
        torch::autograd::backward({out.normed_RD, out.residual_RD * 1}, {dy.to(type), dsum.to(type)});
        EXPECT_TRUE(at::equal(out.rebuild(), out.normed_RD));
        EXPECT_TRUE(!with_delta || at::equal(xi.grad(), di.grad()));
        return std::vector<at::Tensor>{out.normed_RD, out.residual_RD, xi.grad(), weight.grad};
      };
      const auto got = run(c.type), want = run(at::kDouble);
      for (std::size_t i = 0; i < got.size(); ++i)
        EXPECT_LT(distance(got[i], want[i]), c.tolerance) << i << " " << c.width;
    }
  }
}

TEST(GatedProduct, HostRowsEqualLibTorch) {
  at::manual_seed(2);
  for (const auto& c : kCases) {
    for (const bool with_scale : {true, false}) {
      const at::Tensor gate_up = random({c.rows, 2 * c.width}, c.type) * 4,
                       dproduct = random({c.rows, c.width}, c.type);
      const at::Tensor scale = at::rand({c.rows});
      const auto run = [&](at::ScalarType type) {
        const at::Tensor g = gate_up.to(type, false, true).requires_grad_(true);
        const at::Tensor s = with_scale ? scale.clone().requires_grad_(true) : at::Tensor();
        const GatedProduct out = gated_product(g, s);
        EXPECT_TRUE(at::equal(out.rebuild(), out.product_RF));
        out.product_RF.backward(dproduct.to(type));
        std::vector<at::Tensor> all{out.product_RF, g.grad()};
        if (with_scale) all.push_back(s.grad());
        return all;
      };
      const auto got = run(c.type), want = run(at::kDouble);
      for (std::size_t i = 0; i < got.size(); ++i)
        EXPECT_LT(distance(got[i], want[i]), c.tolerance) << i << " " << c.width;
    }
  }
}

TEST(GatedProduct, KeepsExtremesAndNotANumber) {
  const float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const at::Tensor gate_up = at::tensor({200.0f, -200.0f, nan, infinity, 1.0f, 1.0f, 1.0f, 1.0f}).unsqueeze(0);
  const at::Tensor product = gated_product(gate_up, {}).product_RF[0];
  EXPECT_FLOAT_EQ(product[0].item<float>(), 200.0f);
  EXPECT_NEAR(product[1].item<float>(), 0, 1e-30);
  EXPECT_TRUE(std::isnan(product[2].item<float>()));
  EXPECT_EQ(product[3].item<float>(), infinity);
}

TEST(Rope, HostRowsEqualLibTorchAndBackwardRotatesBack) {
  at::manual_seed(3);
  const at::Tensor positions = at::tensor({0, 1, 2, 500, 4095}, at::kLong);
  for (const auto& c : {Case{at::kFloat, 5, 10, 1e-6}, Case{at::kBFloat16, 5, 64, 1e-2}}) {
    const at::Tensor values = random({c.rows, 5, c.width}, c.type), grad = random({c.rows, 5, c.width}, c.type);
    const auto run = [&](at::ScalarType type) {
      const RopeTables tables = rope_tables(positions, c.width, 1e4, type);
      const at::Tensor leaf = values.to(type).clone().requires_grad_(true);
      const at::Tensor out = apply_rope(leaf * 1, 3, tables);
      out.backward(grad.to(type).clone());
      return std::vector<at::Tensor>{out, leaf.grad()};
    };
    const auto got = run(c.type), want = run(at::kDouble);
    for (std::size_t i = 0; i < got.size(); ++i) EXPECT_LT(distance(got[i], want[i]), c.tolerance) << i;
    EXPECT_TRUE(at::equal(got[0].narrow(1, 3, 2), values.narrow(1, 3, 2)));  // values are not rotated
    EXPECT_TRUE(at::equal(got[0][0], values[0]));                            // position 0 neither
    EXPECT_NEAR(wide(got[1]).norm().item<double>(), wide(grad).norm().item<double>(),
                1e-2 * wide(grad).norm().item<double>());
  }
}

TEST(Rows, ExponentialIsAccurate) {
  double worst = 0;
  for (float x = -87.0f; x <= 88.0f; x += 0.0137f)
    worst = std::max(worst, std::abs(parallel::exp_of(x) / std::exp(static_cast<double>(x)) - 1));
  EXPECT_LT(worst, 2.5e-7);  // 2 units in the last place
  EXPECT_TRUE(std::isnan(parallel::exp_of(std::nanf(""))));
}

TEST(Rows, Bf16RoundsAsLibTorchDoes) {
  at::manual_seed(4);
  const at::Tensor values =
      at::cat({at::randn({4096}) * 1e3, at::randn({4096}) * 1e-39, at::tensor({1.00390625f, 1.01171875f, INFINITY})});
  const at::Tensor want = values.to(at::kBFloat16).to(at::kFloat);
  for (std::int64_t i = 0; i < values.size(0); ++i)
    ASSERT_EQ(parallel::rounded_to(static_cast<const parallel::Bf16Bits*>(nullptr), values[i].item<float>()),
              want[i].item<float>());
  EXPECT_TRUE(std::isnan(parallel::rounded_to(static_cast<const parallel::Bf16Bits*>(nullptr), std::nanf(""))));
}

}  // namespace
}  // namespace osler::model
