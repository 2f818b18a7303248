// The raw text behind the configured inputs, cut into units of work that do not depend on how many ranks do it: the
// same units give the same shards, whoever writes them. Local.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/options.hpp"

namespace osler::data {

struct CorpusFile {
  std::string path;
  std::int64_t num_bytes = 0;
  std::int64_t modified_ns = 0;
};

struct CorpusSource {
  std::string name;
  std::vector<CorpusFile> files;  ///< in the order of the inputs, by path within each; no path twice
};

using Corpus = std::vector<CorpusSource>;

/// Expands the inputs, grouped by source in order of first mention. Throws DataError naming an input without files.
Corpus list_corpus(const std::vector<config::NamedPath>& inputs);
/// SHA-256 over names, sizes and times of change: whether the inputs are still the same.
std::string fingerprint_of(const Corpus& corpus);

/// The lines that start in [begin, end) of a file; the whole file for kinds that cannot be split.
struct FilePart {
  std::int32_t file = 0;  ///< index into the source's files
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

/// One shard's worth of input: consecutive parts of consecutive files of one source.
struct WorkUnit {
  std::int32_t source = 0;
  std::int32_t number = 0;  ///< within the source, from 0
  std::vector<FilePart> parts;
  std::int64_t cost_bytes = 0;  ///< text to expect, compression guessed
};

/// All units, by source and then by place in it. A pure function of the corpus.
std::vector<WorkUnit> plan_units(const Corpus& corpus);
/// Which units belong to `rank` (ascending): the largest first, each to the rank with least so far.
std::vector<std::size_t> units_of_rank(const std::vector<WorkUnit>& units, int rank, int num_ranks);

}  // namespace osler::data
