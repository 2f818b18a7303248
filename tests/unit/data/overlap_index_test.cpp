#include "data/overlap_index.hpp"

#include <gtest/gtest.h>

#include <set>

#include "comm/group.hpp"
#include "data/decontaminate.hpp"

namespace osler::data {
namespace {

const std::string kQuestion = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen";

std::vector<Benchmark> benchmark(const std::vector<BenchmarkItem>& items) {
  return {{"b", "b.jsonl", "", items}};
}

/// Items that the text's pieces touch, and which of them as whole questions.
std::pair<std::set<std::size_t>, std::set<std::size_t>> touched(const std::vector<BenchmarkItem>& items,
                                                                const std::vector<std::string_view>& pieces,
                                                                const OverlapRules& rules = {}) {
  const OverlapIndex index(benchmark(items), rules);
  OverlapScanner scanner(index);
  std::pair<std::set<std::size_t>, std::set<std::size_t>> found;
  for (const std::uint32_t pattern : scanner.scan(pieces)) {
    for (const std::uint32_t item : index.items_of(pattern))
      (index.is_question(pattern) ? found.second : found.first).insert(item);
  }
  return found;
}

using Items = std::set<std::size_t>;

TEST(OverlapIndex, FindsRunsOfThirteenWordsAndWholeQuestions) {
  const std::vector<BenchmarkItem> items{
      {"", 1, kQuestion, {}}, {"", 2, "Short?", {"a " + kQuestion}}, {"", 3, "what is the dose of drug x now?", {}}};
  EXPECT_EQ(touched(items, {"zero " + kQuestion + " fifteen"}), std::pair(Items({0, 1}), Items({0})));
  const std::string thirteen = kQuestion.substr(4);
  EXPECT_EQ(touched(items, {thirteen}), std::pair(Items({0, 1}), Items{}));
  EXPECT_EQ(touched(items, {thirteen.substr(4)}), std::pair(Items{}, Items{}));
  EXPECT_EQ(touched(items, {"It asks: \"What is the DOSE of drug-X, now\""}), std::pair(Items{}, Items({2})));
  EXPECT_EQ(touched(items, {"what is the dose of drug y now"}), std::pair(Items{}, Items{}));
  EXPECT_EQ(touched(items, {"short"}), std::pair(Items{}, Items{}));
}

TEST(OverlapIndex, NothingMatchesAcrossPieces) {
  const std::string_view text = kQuestion;
  EXPECT_EQ(touched({{"", 1, kQuestion, {}}}, {text.substr(0, 20), text.substr(20)}).first, Items{});
}

TEST(OverlapIndex, QuestionsOfSeveralLengthsMayEndAlike) {
  const std::vector<BenchmarkItem> items{
      {"", 1, "b c d e f g h i", {}}, {"", 2, "a b c d e f g h i", {}}, {"", 3, "x b c d e f g h i", {}}};
  EXPECT_EQ(touched(items, {"a b c d e f g h i"}).second, Items({0, 1}));
}

TEST(OverlapIndex, NoBenchmarkMeansNoOverlap) {
  const OverlapIndex index({}, {});
  OverlapScanner scanner(index);
  const std::string_view piece = kQuestion;
  EXPECT_TRUE(scanner.scan(std::span(&piece, 1)).empty());
}

TEST(OverlapIndex, SaysWhichItemsAreTooShort) {
  const OverlapIndex index(benchmark({{"", 1, "a b c", {}}, {"", 2, "a b c", {kQuestion}}, {"", 3, kQuestion, {}}}),
                           {});
  EXPECT_TRUE(index.is_too_short(0));
  EXPECT_FALSE(index.is_too_short(1));
  EXPECT_FALSE(index.is_too_short(2));
}

/// Documents that hold the texts in turn, in one unit.
OverlapJudgement judged(const OverlapIndex& index, const std::vector<std::string>& texts,
                        std::vector<char> duplicates = {}) {
  OverlapScanner scanner(index);
  UnitOverlaps unit{0, texts.size(), {}, std::move(duplicates)};
  for (std::size_t d = 0; d < texts.size(); ++d) {
    const std::string_view piece = texts[d];
    for (const std::uint32_t pattern : scanner.scan(std::span(&piece, 1)))
      unit.hits.push_back({static_cast<std::uint32_t>(d), pattern});
  }
  return judge_overlaps(comm::self_group(), index, 1, scanner.num_documents(), {unit});
}

TEST(JudgeOverlaps, ManyDocumentsMakeAStockPhraseButNotOfALongQuestion) {
  const OverlapRules rules{4, 3, 2};
  const OverlapIndex index(benchmark({{"", 1, "a b c d", {}}, {"", 2, "x y z", {}}}), rules);
  const OverlapJudgement judgement =
      judged(index, {"a b c d", "a b c d .", "x y z", "a b c d !", "x y z !", "x y z ?"});
  EXPECT_EQ(judgement.num_stock, 2);  // the run of four, and the short question
  EXPECT_EQ(judgement.items[0].ngram_hits, 0);
  EXPECT_TRUE(judgement.items[0].question_hit);
  EXPECT_EQ(judgement.items[0].documents, 3);
  EXPECT_EQ(judgement.items[1].documents, 0);
  EXPECT_EQ(judgement.is_contaminated[0], std::vector<char>({1, 1, 0, 1, 0, 0}));
}

TEST(JudgeOverlaps, DuplicatesDoNotMakeAStockPhrase) {
  const OverlapIndex index(benchmark({{"", 1, "x y z", {}}}), {4, 3, 2});
  const OverlapJudgement judgement = judged(index, {"x y z", "x y z", "x y z", "x y z"}, {0, 1, 1, 1});
  EXPECT_EQ(judgement.num_stock, 0);
  EXPECT_EQ(judgement.items[0].documents, 1);
  EXPECT_EQ(judgement.is_contaminated[0], std::vector<char>({1, 0, 0, 0}));
}

TEST(JudgeOverlaps, WhatIsKeptOfAPhraseIsBounded) {
  const OverlapIndex index(benchmark({{"", 1, "x y z", {}}}), {4, 3, 1});
  const auto many = static_cast<std::size_t>(OverlapScanner::kRawFactor) + 1;
  std::vector<char> duplicates(many, 1);
  duplicates[0] = 0;
  EXPECT_EQ(judged(index, std::vector<std::string>(many, "x y z"), duplicates).num_stock, 1);
}

}  // namespace
}  // namespace osler::data
