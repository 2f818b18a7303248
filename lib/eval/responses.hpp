// Recorded responses, graded anew without a model: eval.responses names samples files, of Osler or lm-eval. Local.
#pragma once

#include <string>
#include <vector>

#include "eval/item_result.hpp"

namespace osler::eval {

/// One result per item of the task, from rows {doc_id, resps}: `resps` is a list of texts, or of lists of texts whose
/// entries all vote. The option order and log-probability of a vote are taken from the row's `votes` where it has them
/// for the same text; without, options stood as in the file. Throws DataError with file and line: an item without a row
/// or with two, a doc_id beyond the items, a question_sha256 of another question, numbers where texts are expected.
std::vector<ItemResult> read_responses(const Task& task, const std::string& path);

}  // namespace osler::eval
