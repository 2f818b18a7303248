// A context and its continuations as token ids, by lm-eval's rule, so that log-likelihoods can be compared. Local.
#pragma once

#include <string>
#include <vector>

#include "generate/scorer.hpp"
#include "text/tokenizer.hpp"

namespace osler::eval {

/// Source: lm_eval/api/model.py _encode_pair. White space at the end of the context moves to the continuations; a
/// continuation's ids are those of context + continuation less the first len(ids of context); BOS by the tokenizer's
/// own default. Throws DataError when a continuation leaves no token of its own.
generate::ScoreRequest encode_pair(const text::Tokenizer& tokenizer, const std::string& context,
                                   const std::vector<std::string>& continuations);

}  // namespace osler::eval
