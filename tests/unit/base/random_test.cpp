#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.hpp"
#include "base/random.hpp"

namespace osler {
namespace {

using Words4 = std::array<std::uint32_t, 4>;

// Known answers of Random123 1.14, tests/kat_vectors, philox4x32 with 10 rounds.
TEST(Philox, GivesThePublishedAnswers) {
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (Words4{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr std::uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(philox({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (Words4{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words4{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(RandomStream, IsAPureFunctionOfEveryPartOfItsKey) {
  const auto words = [](RandomStream stream) {
    std::vector<std::uint32_t> drawn;
    for (int i = 0; i < 9; ++i) drawn.push_back(stream.next_u32());
    return drawn;
  };
  const auto base = words(RandomStream(7, Purpose::test, 1, 2));
  EXPECT_EQ(base, words(RandomStream(7, Purpose::test, 1, 2)));
  const std::uint64_t high_bit = std::uint64_t{1} << 63;
  for (const auto& other :
       {RandomStream(8, Purpose::test, 1, 2), RandomStream(7 | high_bit, Purpose::test, 1, 2),
        RandomStream(7, Purpose::init, 1, 2), RandomStream(7, Purpose::test, 2, 1),
        RandomStream(7, Purpose::test, 1 | high_bit, 2), RandomStream(7, Purpose::test, 1, 2 | high_bit)})
    EXPECT_NE(base, words(other));
}

TEST(RandomStream, HasTheMomentsOfItsDistributions) {
  RandomStream stream(3, Purpose::test);
  constexpr int kCount = 200'000;
  double sum = 0, square = 0, normal_sum = 0, normal_square = 0, normal_fourth = 0;
  for (int i = 0; i < kCount; ++i) {
    const double u = stream.uniform();
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    sum += u;
    square += u * u;
    const double n = stream.normal();
    ASSERT_TRUE(std::isfinite(n));
    normal_sum += n;
    normal_square += n * n;
    normal_fourth += n * n * n * n;
  }
  const double tolerance = 5 / std::sqrt(kCount);  // five standard errors of a statistic whose deviation is at most 1
  EXPECT_NEAR(sum / kCount, 0.5, tolerance);
  EXPECT_NEAR(square / kCount, 1.0 / 3, tolerance);
  EXPECT_NEAR(normal_sum / kCount, 0, tolerance);
  EXPECT_NEAR(normal_square / kCount, 1, tolerance * std::sqrt(2));
  EXPECT_NEAR(normal_fourth / kCount, 3, tolerance * std::sqrt(96));
}

TEST(RandomStream, ManyWordsAtOnceAreTheWordsOneByOne) {
  RandomStream one(5, Purpose::test, 6, 7), many(5, Purpose::test, 6, 7);
  for (const std::size_t count : {1, 3, 64, 65, 0, 200, 127, 4096, 5}) {
    std::vector<std::uint32_t> words(count);
    many.next_words(words);
    for (const std::uint32_t word : words) ASSERT_EQ(word, one.next_u32()) << count;
  }
  EXPECT_EQ(one.next_u64(), many.next_u64());
}

TEST(RandomStream, BelowIsUniformAndRefusesZero) {
  RandomStream stream(4, Purpose::test);
  std::array<int, 7> hits{};
  constexpr int kCount = 70'000;
  for (int i = 0; i < kCount; ++i) ++hits.at(stream.below(hits.size()));
  double chi_square = 0;
  for (const int count : hits) chi_square += std::pow(count - kCount / 7.0, 2) / (kCount / 7.0);
  EXPECT_LT(chi_square, 30);  // 6 degrees of freedom: p < 4e-5
  EXPECT_EQ(stream.below(1), 0u);
  const std::uint64_t large = (std::uint64_t{1} << 63) + 1;  // half of all words are rejected
  for (int i = 0; i < 100; ++i) EXPECT_LT(stream.below(large), large);
  EXPECT_THROW(stream.below(0), InternalError);
}

TEST(Permutation, IsABijectionOfEverySmallSize) {
  for (std::uint64_t size = 0; size <= 300; ++size) {
    const Permutation permutation(size, 11, Purpose::data_order, 1, size);
    std::set<std::uint64_t> seen;
    for (std::uint64_t i = 0; i < size; ++i) {
      const std::uint64_t image = permutation(i);
      ASSERT_LT(image, size);
      seen.insert(image);
    }
    ASSERT_EQ(seen.size(), size);
    EXPECT_THROW(permutation(size), InternalError);
  }
}

TEST(Permutation, StaysInsideLargeSizesAndFollowsItsKey) {
  const std::uint64_t size = 65'000'000'001;
  const Permutation a(size, 1, Purpose::data_order), b(size, 1, Purpose::data_order, 0, 1), c(size, 1, Purpose::test);
  int equal = 0;
  std::set<std::uint64_t> images;
  for (std::uint64_t i = 0; i < 20'000; ++i) {
    ASSERT_LT(a(i), size);
    images.insert(a(i));
    equal += (a(i) == b(i)) + (a(i) == c(i));
  }
  EXPECT_EQ(images.size(), 20'000u);
  EXPECT_LE(equal, 2);
  EXPECT_EQ(a(12345), Permutation(size, 1, Purpose::data_order)(12345));
}

TEST(Permutation, PutsEveryElementEverywhere) {
  constexpr std::uint64_t kSize = 5;
  constexpr int kTrials = 10'000;
  std::map<std::pair<std::uint64_t, std::uint64_t>, int> hits;
  for (std::uint64_t key = 0; key < kTrials; ++key) {
    const Permutation permutation(kSize, 5, Purpose::test, key);
    for (std::uint64_t i = 0; i < kSize; ++i) ++hits[{i, permutation(i)}];
  }
  ASSERT_EQ(hits.size(), kSize * kSize);
  for (const auto& [cell, count] : hits)
    EXPECT_NEAR(count, kTrials / 5.0, 5 * std::sqrt(kTrials * 0.2 * 0.8)) << cell.first;
}

}  // namespace
}  // namespace osler
