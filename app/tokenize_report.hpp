// What `osler tokenize` tells at its end: counts per source and the records that could not be used, gathered from all
// ranks, in the order of the input whatever the number of ranks.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <vector>

#include "comm/group.hpp"
#include "data/corpus.hpp"
#include "data/corpus_pass.hpp"

namespace osler::app {

/// One unit's results: the scan's and, later, the tokens'.
struct UnitResult {
  std::size_t unit = 0;
  data::UnitScan scan;
  data::UnitTokens tokens;
};

/// {"identifiers", "sources": {name: {files, documents, text_bytes, dropped: {reason: n}, identifiers: {kind: n} unless
/// off}}, "num_problems", "problems": [{file, line,
/// reason, detail}]} over all ranks, with lines counted from the start of each file. *Collective.*
nlohmann::ordered_json gather_scan(comm::Group& group, const data::Corpus& corpus,
                                   const std::vector<data::WorkUnit>& units, const std::vector<UnitResult>& mine,
                                   config::Identifiers identifiers);

/// Adds documents kept, tokens, shards, duplicates and contaminated documents to the report's sources. *Collective.*
void add_tokens(nlohmann::ordered_json& report, comm::Group& group, const data::Corpus& corpus,
                const std::vector<data::WorkUnit>& units, const std::vector<UnitResult>& mine);

/// Says on stderr what was dropped and names the first records; throws DataError for a source with nothing to use.
void tell_problems(const nlohmann::ordered_json& report);

}  // namespace osler::app
