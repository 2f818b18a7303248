#include "data/corpus.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <numeric>
#include <set>
#include <utility>

#include "base/error.hpp"
#include "base/sha256.hpp"
#include "text/byte_stream.hpp"
#include "text/document_reader.hpp"

namespace osler::data {
namespace {

// A source becomes about 32 shards, so that a few ranks share even a small one, but none of them is tiny or huge.
constexpr std::int64_t kUnitsPerSource = 32;
constexpr std::int64_t kMinUnitBytes = std::int64_t{1} << 20;
constexpr std::int64_t kMaxUnitBytes = std::int64_t{256} << 20;
constexpr std::int64_t kUsualCompression = 4;  // text to archive, by size
constexpr std::uint64_t kWholeFile = std::numeric_limits<std::uint64_t>::max();

CorpusFile file_at(const std::string& path) {
  struct stat status {};
  if (stat(path.c_str(), &status) != 0) throw StorageError("cannot read ", path, ": ", std::strerror(errno));
  return {path, status.st_size, status.st_mtim.tv_sec * 1'000'000'000LL + status.st_mtim.tv_nsec};
}

std::int64_t cost_of(const CorpusFile& file) {
  return file.num_bytes * (text::is_compressed(file.path) ? kUsualCompression : 1);
}

void plan_source(std::int32_t index, const CorpusSource& source, std::vector<WorkUnit>& units) {
  std::int64_t total = 0;
  for (const CorpusFile& file : source.files) total += cost_of(file);
  const std::int64_t target = std::clamp(total / kUnitsPerSource, kMinUnitBytes, kMaxUnitBytes);
  WorkUnit unit{.source = index};
  const auto close_unit = [&] {
    if (unit.parts.empty()) return;
    units.push_back(unit);
    unit = WorkUnit{.source = index, .number = unit.number + 1};
  };
  for (std::size_t f = 0; f < source.files.size(); ++f) {
    const CorpusFile& file = source.files[f];
    const std::int64_t cost = cost_of(file);
    // Equal parts of at most `target` bytes; one whole part where the kind of file allows no entry in the middle.
    const std::int64_t num_parts =
        text::can_be_split(file.path) ? std::max<std::int64_t>(1, (cost + target - 1) / target) : 1;
    for (std::int64_t p = 0; p < num_parts; ++p) {
      const auto edge = [&](std::int64_t i) { return static_cast<std::uint64_t>(file.num_bytes / num_parts * i); };
      if (unit.cost_bytes > 0 && unit.cost_bytes + cost / num_parts > target) close_unit();
      unit.parts.push_back({static_cast<std::int32_t>(f), edge(p), p + 1 == num_parts ? kWholeFile : edge(p + 1)});
      unit.cost_bytes += cost / num_parts;
    }
  }
  close_unit();
}

}  // namespace

Corpus list_corpus(const std::vector<config::NamedPath>& inputs) {
  Corpus corpus;
  std::set<std::pair<std::string, std::string>> seen;
  for (const config::NamedPath& input : inputs) {
    auto source =
        std::find_if(corpus.begin(), corpus.end(), [&](const CorpusSource& known) { return known.name == input.name; });
    if (source == corpus.end()) source = corpus.insert(corpus.end(), CorpusSource{input.name, {}});
    for (const std::string& path : text::expand_input(input.path)) {
      if (seen.emplace(input.name, path).second) source->files.push_back(file_at(path));
    }
  }
  return corpus;
}

std::string fingerprint_of(const Corpus& corpus) {
  Sha256 sum;
  for (const CorpusSource& source : corpus) {
    for (const CorpusFile& file : source.files) {
      sum.update(text_of(source.name, '\t', file.path, '\t', file.num_bytes, '\t', file.modified_ns, '\n'));
    }
  }
  return sum.hex();
}

std::vector<WorkUnit> plan_units(const Corpus& corpus) {
  std::vector<WorkUnit> units;
  for (std::size_t s = 0; s < corpus.size(); ++s) plan_source(static_cast<std::int32_t>(s), corpus[s], units);
  return units;
}

std::vector<std::size_t> units_of_rank(const std::vector<WorkUnit>& units, int rank, int num_ranks) {
  std::vector<std::size_t> order(units.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return units[a].cost_bytes > units[b].cost_bytes; });
  std::vector<std::int64_t> load(static_cast<std::size_t>(num_ranks));
  std::vector<std::size_t> mine;
  for (const std::size_t unit : order) {
    const auto least = std::min_element(load.begin(), load.end());
    *least += units[unit].cost_bytes + 1;
    if (least - load.begin() == rank) mine.push_back(unit);
  }
  std::sort(mine.begin(), mine.end());
  return mine;
}

}  // namespace osler::data
