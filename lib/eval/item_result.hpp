// What one item brought, as it travels between ranks and lies in the journal: everything that costs model time and
// nothing that can be derived from it. Pure.
#pragma once

#include <cstddef>
#include <vector>

#include "eval/json_record.hpp"
#include "eval/vote.hpp"
#include "generate/scorer.hpp"

namespace osler::eval {

struct ItemResult {
  std::vector<generate::ContinuationScore> choices;  ///< by option; by likelihood only
  std::vector<Vote> votes;                           ///< by generation only
  std::vector<Exemplar> exemplars;                   ///< of medprompt, in prompt order
};

Json json_of(const Vote& vote);
Json json_of(const Task& task, const ItemResult& result);
/// The inverse. Throws DataError (`origin` names the file) when it is none.
ItemResult item_result_of(const Task& task, const Json& json, const std::string& origin);

}  // namespace osler::eval
