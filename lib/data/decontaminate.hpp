// Which training documents overlap which benchmark items, judged over all ranks: stock phrases are known only when the
// documents of all of them are counted. The result does not depend on how many ranks there are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "comm/group.hpp"
#include "data/overlap_index.hpp"

namespace osler::data {

/// A pattern of an OverlapIndex in a document.
struct PatternHit {
  std::uint32_t document = 0;  ///< within its unit
  std::uint32_t pattern = 0;
};

/// What a scan has found in one unit of work.
struct UnitOverlaps {
  std::size_t source = 0;
  std::size_t num_documents = 0;
  std::vector<PatternHit> hits;    ///< by document
  std::vector<char> is_duplicate;  ///< one flag a document, or empty for none; duplicates count for nothing
};

struct ItemOverlap {
  std::int64_t ngram_hits = 0;  ///< different n-grams of the item that occur, stock phrases left out
  bool question_hit = false;    ///< the whole question occurs
  std::int64_t documents = 0;   ///< that overlap the item
};

struct OverlapJudgement {
  std::vector<ItemOverlap> items;                    ///< equal on all ranks
  std::vector<std::vector<std::int64_t>> documents;  ///< [benchmark][source], equal on all ranks
  std::int64_t num_stock = 0;                        ///< patterns taken for stock phrases
  std::vector<std::vector<char>> is_contaminated;    ///< one flag a document of each of this rank's units
};

/// A pattern is a stock phrase when more than rules.max_documents documents hold it, duplicates left out, or
/// OverlapScanner::kRawFactor times as many with them; a whole question of ngram_words words or more never is.
/// `num_documents` is this rank's OverlapScanner's. *Collective over `group`.*
OverlapJudgement judge_overlaps(comm::Group& group, const OverlapIndex& index, std::size_t num_sources,
                                const std::vector<std::int64_t>& num_documents, const std::vector<UnitOverlaps>& mine);

}  // namespace osler::data
