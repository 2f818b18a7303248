#include "generate/token_choice.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "base/random.hpp"
#include "generate/stop_text.hpp"

namespace osler::generate {
namespace {

std::vector<float> random_logits(std::size_t size) {
  RandomStream stream(21, Purpose::test);
  std::vector<float> logits;
  for (std::size_t i = 0; i < size; ++i) logits.push_back(static_cast<float>(2 * stream.normal()));
  return logits;
}

std::vector<double> probabilities(const std::vector<float>& logits, double temperature) {
  std::vector<double> p;
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) / temperature);
  for (const float logit : logits) p.push_back(std::exp(static_cast<double>(logit) / temperature) / sum);
  return p;
}

/// The fewest and likeliest tokens that reach top_p, as sorting all of them gives.
std::set<std::size_t> nucleus(const std::vector<double>& p, double top_p) {
  std::vector<std::size_t> order(p.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return p[a] > p[b]; });
  std::set<std::size_t> kept;
  double sum = 0;
  for (const std::size_t i : order) {
    if (sum >= top_p) break;
    kept.insert(i);
    sum += p[i];
  }
  return kept;
}

TEST(SampleRow, FrequenciesAreTheProbabilities) {
  const std::vector<float> logits = random_logits(40);
  std::vector<float> scratch;
  constexpr int kDraws = 40000;
  for (const double temperature : {0.5, 1.0, 1.7}) {
    for (const double top_p : {1.0, 0.9, 0.5}) {
      std::vector<double> p = probabilities(logits, temperature);
      const auto kept = nucleus(p, top_p);
      double mass = 0;
      for (const std::size_t i : kept) mass += p[i];
      std::vector<int> counts(logits.size(), 0);
      for (std::uint64_t i = 0; i < kDraws; ++i) {
        const double u = RandomStream(1, Purpose::sampling, i, 3).uniform();
        ++counts[static_cast<std::size_t>(sample_row(logits.data(), 40, {temperature, top_p}, u, scratch))];
      }
      double chi_square = 0;
      for (std::size_t i = 0; i < p.size(); ++i) {
        const double expected = kept.contains(i) ? kDraws * p[i] / mass : 0;
        EXPECT_TRUE(expected > 0 || counts[i] == 0) << "token " << i << " is outside the nucleus";
        if (expected > 0) chi_square += (counts[i] - expected) * (counts[i] - expected) / expected;
      }
      const double freedom = static_cast<double>(kept.size()) - 1;  // mean + 5 standard deviations
      EXPECT_LT(chi_square, freedom + 5 * std::sqrt(2 * freedom) + 1) << temperature << ' ' << top_p;
    }
  }
}

TEST(SampleRow, CutsLargeVocabulariesAsSortingDoes) {
  const std::vector<float> logits = random_logits(5003);
  const std::vector<double> p = probabilities(logits, 1);
  std::vector<float> scratch;
  for (const double top_p : {0.01, 0.3, 0.95}) {
    const auto kept = nucleus(p, top_p);
    std::set<std::size_t> drawn;
    for (int i = 0; i < 2000; ++i)
      drawn.insert(static_cast<std::size_t>(sample_row(logits.data(), 5003, {1, top_p}, (i + 0.5) / 2000, scratch)));
    for (const std::size_t token : drawn) EXPECT_TRUE(kept.contains(token)) << token;
    EXPECT_GE(drawn.size(), std::min<std::size_t>(kept.size(), 100) / 2);
  }
}

TEST(SampleRow, EdgesAndTies) {
  std::vector<float> scratch;
  const std::vector<float> equal(10, 1.0f);
  // Of equals the lower ids survive: half of the mass are the first five.
  for (const double u : {0.0, 0.3, 0.999999}) EXPECT_LT(sample_row(equal.data(), 10, {1, 0.5}, u, scratch), 5);
  EXPECT_EQ(sample_row(equal.data(), 10, {1, 0.5}, 0.999999, scratch), 4);
  EXPECT_EQ(sample_row(equal.data(), 10, {1, 1}, 0.9999999999, scratch), 9);
  std::vector<float> peak(1000, 0.0f);
  peak[700] = 3;
  for (const double u : {0.0, 0.5, 0.999999}) {
    EXPECT_EQ(sample_row(peak.data(), 1000, {1, 1e-6}, u, scratch), 700);  // at least one token is kept
    EXPECT_EQ(sample_row(peak.data(), 1000, {0.01, 1}, u, scratch), 700);  // nearly greedy
  }
}

TEST(ChooseTokens, GreedyTakesTheFirstOfEqualsAndItsLogProbability) {
  parallel::Parameter head;
  head.data = at::zeros({37, 4});
  head.spec.offset = {0, 0};
  head.spec.shape = {37, 4};
  head.data[21][0] = 2;
  head.data[11][0] = 2;
  const at::Tensor hidden = at::tensor({1.0f, 0.0f, 0.0f, 0.0f}).repeat({2, 1});
  for (const auto type : {at::kFloat, at::kDouble, at::kBFloat16}) {
    parallel::Parameter typed = head;
    typed.data = head.data.to(type);
    const auto choices =
        choose_tokens(hidden.to(type), typed, {{0, {}, 0}, {1, {}, 0}, {1, {1e-3, 1}, 0.9}}, comm::self_group());
    EXPECT_EQ(choices[0].id, 11);
    EXPECT_EQ(choices[1].id, 11);
    EXPECT_EQ(choices[2].id, 21);
    for (const auto& choice : choices) EXPECT_NEAR(choice.log_prob, 2 - std::log(35 + 2 * std::exp(2.0)), 1e-5);
  }
}

std::string letters(const std::vector<int>& ids) {
  static const std::vector<std::string> pieces{"Qu", "es", "tion", ":", "\n", "a", ""};
  std::string text;
  for (const int id : ids) text += pieces[static_cast<std::size_t>(id)];
  return text;
}

TEST(StopText, MayBeginInOneTokenAndEndInAnother) {
  const std::vector<std::string> stop{"Question:", "\n\n"};
  std::vector<int> ids(50, 5);
  for (const int id : {0, 1, 2}) {
    ids.push_back(id);
    EXPECT_FALSE(ends_text(ids, stop, letters));
  }
  ids.push_back(3);
  EXPECT_TRUE(ends_text(ids, stop, letters));
  EXPECT_EQ(cut_text(letters(ids), stop), std::string(50, 'a'));
  EXPECT_TRUE(ends_text({4, 4}, stop, letters));
  EXPECT_FALSE(ends_text({4}, stop, letters));
  EXPECT_FALSE(ends_text({}, stop, letters));
  EXPECT_FALSE(ends_text(ids, {}, letters));
  ids = std::vector<int>(100, 6);  // tokens without any text do not hide a stop string
  ids.insert(ids.begin(), 4);
  ids.push_back(4);
  EXPECT_TRUE(ends_text(ids, stop, letters));
  EXPECT_EQ(cut_text("one\n\ntwo Question:", stop), "one");
}

}  // namespace
}  // namespace osler::generate
