// The two passes over raw text: a scan that counts, names what cannot be used and takes the sum of every document, and,
// once duplicates are known on all ranks, the encoding into shards. Local: each rank calls them for its own units.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "config/options.hpp"
#include "data/corpus.hpp"
#include "data/decontaminate.hpp"
#include "data/overlap_index.hpp"
#include "text/document_reader.hpp"
#include "text/identifiers.hpp"
#include "text/tokenizer.hpp"

namespace osler::data {

/// The first 128 bits of a document's SHA-256, salted with its source: equal digests are taken for equal texts.
using Digest = std::array<std::uint64_t, 2>;

struct PartProblem {
  std::int32_t part = 0;  ///< of the unit; lines are counted from the part's own first line
  text::Problem problem;
};

struct UnitScan {
  std::int64_t num_documents = 0;
  std::int64_t text_bytes = 0;
  std::map<text::DropReason, std::int64_t> dropped;
  std::vector<PartProblem> problems;     ///< the first kMaxProblemsPerUnit
  std::vector<std::int64_t> part_lines;  ///< lines read of each part
  std::vector<Digest> digests;           ///< of each document; empty when not asked for
  std::vector<PatternHit> hits;          ///< of benchmarks, by document
  text::IdentifierCounts identifiers{};  ///< by kind; zero when not asked for
};

inline constexpr std::size_t kMaxProblemsPerUnit = 100;

/// Called after every document with its bytes; false stops the pass early, with an incomplete result.
using Tick = std::function<bool(std::int64_t text_bytes)>;

/// `overlaps` looks for benchmark items; null: nobody does. Throws DataError at the first problem when
/// options.bad_records is stop, StorageError when a file cannot be read.
UnitScan scan_unit(const Corpus& corpus, const WorkUnit& unit, const config::TokenizeOptions& options, const Tick& tick,
                   OverlapScanner* overlaps = nullptr);

/// What is known of a unit's documents once all ranks have scanned theirs: one flag a document, or empty for none.
struct UnitVerdict {
  std::vector<char> is_duplicate;
  std::vector<char> is_contaminated;
  std::string decontaminated_against;  ///< what the shards are stamped with; see ShardInfo
};

struct UnitTokens {
  std::int64_t num_documents = 0;
  std::int64_t num_tokens = 0;
  std::int64_t num_supervised = 0;  ///< of conversations
  std::int64_t num_shards = 0;
  std::int64_t num_duplicates = 0;
  std::int64_t num_contaminated = 0;
};

/// Writes the unit's documents, less those that the verdict marks, to
/// <folder>/shard_<number>.h5, and to shard_<number>_001.h5 and so on beyond options.shard_tokens. Each document is
/// BOS (if asked for), its ids, EOS; a conversation is what options.chat_template makes of it, with its loss mask.
/// Throws DataError when the files are no longer what the scan saw.
UnitTokens write_unit(const Corpus& corpus, const WorkUnit& unit, const config::TokenizeOptions& options,
                      const UnitScan& scan, const UnitVerdict& verdict, const text::Tokenizer& tokenizer,
                      const std::string& folder, const Tick& tick);

}  // namespace osler::data
