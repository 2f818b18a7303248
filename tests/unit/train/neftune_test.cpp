#include "train/neftune.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

namespace osler::train {
namespace {

/// Two windows of 12 rows: documents of 7 and 4 rows and one of padding, and one document of 12.
data::Batch two_windows() {
  data::Batch batch;
  batch.tokens_BT = at::zeros({2, 12}, at::kLong);
  batch.labels_BT = at::zeros({2, 12}, at::kLong);
  batch.segments_BT = at::zeros({2, 12}, at::kLong);
  batch.segments_BT[0].slice(0, 7, 11).fill_(1);
  batch.segments_BT[0].slice(0, 11).fill_(2);
  batch.source_B = {0, 1};
  batch.samples = {{0, 2, 5}, {1, 0, 3}};
  batch.lengths_B = {11, 12};
  return batch;
}

constexpr NoiseOptions kOptions{.alpha = 5, .hidden_size = 8192, .seed = 9};

TEST(Neftune, HasTheVarianceOfItsDocumentsLength) {
  const at::Tensor noise = neftune_noise(two_windows(), kOptions).view({2, 12, -1}).to(at::kDouble);
  const auto check = [](const at::Tensor& rows, double length) {
    const double bound = 5 / std::sqrt(length * 8192), variance = bound * bound / 3, n = rows.numel();
    // Of U(-1, 1): the mean has deviation sqrt(1/3n), the mean square sqrt(4/45n); five of them.
    EXPECT_NEAR(rows.mean().item<double>(), 0, 5 * bound * std::sqrt(1 / (3 * n)));
    EXPECT_NEAR(rows.square().mean().item<double>(), variance, 5 * bound * bound * std::sqrt(4 / (45 * n)));
    EXPECT_LE(rows.abs().max().item<double>(), bound * (1 + 1e-6));
  };
  check(noise[0].slice(0, 0, 7), 7);
  check(noise[0].slice(0, 7, 11), 4);
  check(noise[1], 12);
  EXPECT_EQ(noise[0].slice(0, 11).abs().max().item<double>(), 0) << "padding";
}

TEST(Neftune, IsAFunctionOfTheSampleAndNotOfTheBatch) {
  const data::Batch both = two_windows();
  const at::Tensor noise = neftune_noise(both, kOptions).view({2, 12, -1});
  data::Batch second = both;
  for (at::Tensor* part : {&second.tokens_BT, &second.labels_BT, &second.segments_BT}) *part = part->slice(0, 1, 2);
  second.samples = {both.samples[1]};
  second.lengths_B = {12};
  EXPECT_TRUE(at::equal(neftune_noise(second, kOptions), noise[1]));
  EXPECT_FALSE(at::equal(noise[0][0], noise[0][1])) << "rows differ";
  for (const data::SampleId other : {data::SampleId{0, 0, 3}, data::SampleId{1, 1, 3}, data::SampleId{1, 0, 4}}) {
    second.samples = {other};
    EXPECT_FALSE(at::equal(neftune_noise(second, kOptions)[0], noise[1][0])) << "another source, epoch or window";
  }
  second.samples = {both.samples[1]};
  NoiseOptions reseeded = kOptions;
  reseeded.seed = 10;
  EXPECT_FALSE(at::equal(neftune_noise(second, reseeded)[0], noise[1][0]));
}

TEST(Neftune, IsTheSameNoiseInEveryDtype) {
  NoiseOptions options = kOptions;
  const at::Tensor fp32 = neftune_noise(two_windows(), options);
  options.dtype = at::kBFloat16;
  EXPECT_TRUE(at::equal(neftune_noise(two_windows(), options), fp32.to(at::kBFloat16)));
  options.dtype = at::kDouble;
  EXPECT_TRUE(at::equal(neftune_noise(two_windows(), options), fp32.to(at::kDouble)));
}

}  // namespace
}  // namespace osler::train
