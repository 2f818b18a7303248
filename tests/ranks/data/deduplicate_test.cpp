#include "data/deduplicate.hpp"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "support/ranks_world.hpp"

namespace osler::data {
namespace {

/// Units of random digests with many repeats; the same on every rank.
std::vector<UnitDigests> example(unsigned seed, std::size_t num_units, unsigned distinct) {
  std::mt19937 random(seed);
  std::vector<UnitDigests> units;
  for (std::size_t unit = 0; unit < num_units; ++unit) {
    UnitDigests added{unit, {}};
    const auto count = random() % 50;
    for (unsigned i = 0; i < count; ++i) {
      const std::uint64_t value = random() % distinct;
      // High bits set as in real sums; the second half differs for some with an equal first half.
      added.digests.push_back({(value / 2) * 0x9E3779B97F4A7C15ULL, value * 0xBF58476D1CE4E5B9ULL});
    }
    units.push_back(added);
  }
  return units;
}

TEST(FindDuplicates, KeepsTheFirstInInputOrderWhateverTheRanks) {
  comm::Group& group = tests::world().host();
  for (const auto& [num_units, distinct] :
       std::vector<std::pair<std::size_t, unsigned>>{{20, 60}, {7, 1}, {30, 1'000'000}, {1, 5}, {0, 1}}) {
    const std::vector<UnitDigests> all = example(static_cast<unsigned>(num_units), num_units, distinct);
    std::vector<std::vector<char>> expected;
    std::set<Digest> seen;
    for (const UnitDigests& unit : all) {
      expected.emplace_back();
      for (const Digest& digest : unit.digests) expected.back().push_back(seen.insert(digest).second ? 0 : 1);
    }
    std::vector<UnitDigests> mine;
    std::vector<std::vector<char>> my_expected;
    for (const UnitDigests& unit : all) {
      if (static_cast<int>((unit.unit * 7 + 3) % 5) % group.size() != group.rank()) continue;
      mine.push_back(unit);
      my_expected.push_back(expected[unit.unit]);
    }
    EXPECT_EQ(find_duplicates(group, mine), my_expected) << num_units << " units, " << distinct << " distinct";
  }
}

}  // namespace
}  // namespace osler::data
