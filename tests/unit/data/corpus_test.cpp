#include "data/corpus.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "data/corpus_pass.hpp"
#include "data/token_shard.hpp"
#include "base/error.hpp"
#include "support/temporary_folder.hpp"

namespace osler::data {
namespace {

using tests::TemporaryFolder;

Corpus example() {
  Corpus corpus(2);
  corpus[0].name = "clinical";
  corpus[0].files = {{"big.jsonl", 1'000'000'000, 1},
                     {"a.txt", 100, 1},
                     {"b.txt", 0, 1},
                     {"huge.jsonl.zst", 3'000'000'000, 1},
                     {"c.jsonl", 7'000'001, 1}};
  corpus[1].name = "general";
  for (int i = 0; i < 1000; ++i) corpus[1].files.push_back({"note" + std::to_string(i) + ".txt", 5000 + i, 1});
  return corpus;
}

TEST(Corpus, UnitsCoverEveryByteOnceAndInOrder) {
  const Corpus corpus = example();
  const std::vector<WorkUnit> units = plan_units(corpus);
  std::map<std::pair<int, int>, std::uint64_t> next;  // (source, file) -> first byte not yet planned
  std::map<int, int> numbers;
  std::pair<int, int> last{0, 0};
  for (const WorkUnit& unit : units) {
    EXPECT_EQ(unit.number, numbers[unit.source]++);
    EXPECT_FALSE(unit.parts.empty());
    EXPECT_TRUE(unit.cost_bytes <= 512'000'000 || unit.parts.size() == 1);
    for (const FilePart& part : unit.parts) {
      const std::pair<int, int> file{unit.source, part.file};
      EXPECT_GE(file, last);
      last = file;
      EXPECT_EQ(part.begin, next[file]);
      EXPECT_GT(part.end, part.begin);
      next[file] = part.end;
    }
  }
  for (std::size_t s = 0; s < corpus.size(); ++s) {
    for (std::size_t f = 0; f < corpus[s].files.size(); ++f) {
      EXPECT_EQ((next[{static_cast<int>(s), static_cast<int>(f)}]), ~std::uint64_t{0}) << corpus[s].files[f].path;
    }
  }
  EXPECT_GT(numbers[0], 4) << "a big file is cut";
  EXPECT_LT(numbers[1], 10) << "small files share a shard";
}

TEST(Corpus, UnitsAreDealtOnceAndEvenly) {
  const std::vector<WorkUnit> units = plan_units(example());
  for (const int num_ranks : {1, 2, 3, 4, 7}) {
    std::multiset<std::size_t> dealt;
    std::vector<std::int64_t> loads;
    for (int rank = 0; rank < num_ranks; ++rank) {
      const std::vector<std::size_t> mine = units_of_rank(units, rank, num_ranks);
      EXPECT_TRUE(std::is_sorted(mine.begin(), mine.end()));
      dealt.insert(mine.begin(), mine.end());
      loads.push_back(0);
      for (const std::size_t unit : mine) loads.back() += units[unit].cost_bytes;
    }
    EXPECT_EQ(dealt.size(), units.size());
    EXPECT_EQ(std::set<std::size_t>(dealt.begin(), dealt.end()).size(), units.size());
  }
}

TEST(Corpus, ListsEachFileOncePerSource) {
  const TemporaryFolder folder;
  folder.write("one/a.txt", "a");
  folder.write("two/b.txt", "bb");
  const Corpus corpus = list_corpus(
      {{"x", folder / "two"}, {"y", folder / "one"}, {"x", folder / "one/a.txt"}, {"x", folder / "*/a.txt"}});
  ASSERT_EQ(corpus.size(), 2U);
  EXPECT_EQ(corpus[0].name, "x");
  ASSERT_EQ(corpus[0].files.size(), 2U);
  EXPECT_EQ(corpus[0].files[0].path, folder / "two/b.txt");
  EXPECT_EQ(corpus[0].files[0].num_bytes, 2);
  const std::string before = fingerprint_of(corpus);
  folder.write("two/b.txt", "bbb");
  EXPECT_NE(fingerprint_of(list_corpus({{"x", folder / "two"}, {"y", folder / "one"}, {"x", folder / "one/a.txt"}})),
            before);
}

TEST(CorpusPass, StopsAtTheRightLineOfALaterPart) {
  const TemporaryFolder folder;
  std::string file;
  for (int i = 1; i <= 50; ++i) file += i == 40 ? "broken\n" : "{\"text\": \"document\"}\n";
  const std::string path = folder.write("a.jsonl", file);
  const Corpus corpus = list_corpus({{"x", path}});
  WorkUnit unit{.parts = {{0, file.size() / 2, file.size()}}};
  config::TokenizeOptions options;
  const auto go_on = [](std::int64_t) { return true; };
  const UnitScan scan = scan_unit(corpus, unit, options, go_on);
  EXPECT_EQ(scan.dropped.at(text::DropReason::bad_json), 1);
  options.bad_records = config::BadRecords::stop;
  const std::string message = tests::message_of<DataError>([&] { scan_unit(corpus, unit, options, go_on); });
  EXPECT_NE(message.find(path + ":40: bad_json"), std::string::npos) << message;
}

}  // namespace
}  // namespace osler::data
