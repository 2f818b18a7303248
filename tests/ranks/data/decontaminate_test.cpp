#include "data/decontaminate.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>

#include "support/ranks_world.hpp"

namespace osler::data {
namespace {

std::string words(unsigned seed, int count, unsigned distinct) {
  std::mt19937 random(seed);
  std::string text;
  for (int i = 0; i < count; ++i) text += " w" + std::to_string(random() % distinct);
  return text;
}

/// Two benchmarks over few different words, so that short n-grams occur by chance, some of them often.
std::vector<Benchmark> benchmarks() {
  std::vector<Benchmark> all{{"one", "", "", {}}, {"two", "", "", {}}};
  for (unsigned i = 0; i < 40; ++i)
    all[i % 2].items.push_back({"", 0, words(i, 3 + i % 9, 12), {words(100 + i, 6, 12)}});
  return all;
}

struct Outcome {
  std::vector<std::array<std::int64_t, 3>> items;
  std::vector<std::vector<std::int64_t>> documents;
  std::int64_t num_stock = 0;
  std::vector<std::vector<char>> flags;
  bool operator==(const Outcome&) const = default;
};

/// Of units u with u % size == rank.
Outcome outcome_of(comm::Group& group, const OverlapIndex& index) {
  OverlapScanner scanner(index);
  std::vector<UnitOverlaps> mine;
  for (unsigned u = 0; u < 13; ++u) {
    if (static_cast<int>(u) % group.size() != group.rank()) continue;
    UnitOverlaps unit{u % 3, 5, {}, {}};
    for (unsigned d = 0; d < 5; ++d) {
      const std::string text = words(1000 + u * 5 + d, 40, 12);
      const std::string_view piece = text;
      for (const std::uint32_t pattern : scanner.scan(std::span(&piece, 1))) unit.hits.push_back({d, pattern});
      unit.is_duplicate.push_back((u + d) % 7 == 0 ? 1 : 0);
    }
    mine.push_back(std::move(unit));
  }
  const OverlapJudgement judgement = judge_overlaps(group, index, 3, scanner.num_documents(), mine);
  Outcome outcome{{}, judgement.documents, judgement.num_stock, judgement.is_contaminated};
  for (const ItemOverlap& item : judgement.items)
    outcome.items.push_back({item.ngram_hits, item.question_hit ? 1 : 0, item.documents});
  return outcome;
}

TEST(JudgeOverlaps, DoesNotDependOnTheRanks) {
  comm::Group& group = tests::world().host();
  for (const OverlapRules rules : {OverlapRules{4, 3, 2}, OverlapRules{3, 3, 0}, OverlapRules{5, 2, 1}}) {
    const OverlapIndex index(benchmarks(), rules);
    Outcome expected = outcome_of(comm::self_group(), index);
    Outcome found = outcome_of(group, index);
    ASSERT_GT(std::count_if(expected.items.begin(), expected.items.end(), [](const auto& item) { return item[2] > 0; }),
              0);
    EXPECT_EQ(expected.num_stock > 0, rules.max_documents > 0);
    std::vector<std::vector<char>> my_flags;
    for (std::size_t u = 0; u < expected.flags.size(); ++u) {
      if (static_cast<int>(u) % group.size() == group.rank()) my_flags.push_back(expected.flags[u]);
    }
    EXPECT_EQ(found.flags, my_flags);
    found.flags = expected.flags;
    EXPECT_EQ(found, expected);
  }
}

}  // namespace
}  // namespace osler::data
