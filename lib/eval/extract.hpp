// The answer that a generated text states. Strict: what is not stated plainly is no answer, it is never guessed; the
// rules stand in docs/extraction.md and read the text alone, so that recorded responses can be graded again. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace osler::eval {

/// What an answer may be, in the order shown to the model.
struct AnswerKey {
  bool are_words = false;            ///< the options are the words themselves (yes, no, maybe), not letters
  std::vector<std::string> options;  ///< 2 to 26 texts
};

struct Extraction {
  std::optional<std::int64_t> position;  ///< index into AnswerKey::options; none: unparsed
  std::size_t begin = 0;                 ///< bytes [begin, end) of the response that name it
  std::size_t end = 0;
  std::size_t statement_begin = 0;  ///< where the statement starts: what stands before is reasoning
};

Extraction extract_answer(std::string_view response, const AnswerKey& key);

/// The reasoning before a statement: what comes before its line, or before its sentence when it has no line of its own.
std::string reasoning_before(std::string_view response, const Extraction& extraction);

}  // namespace osler::eval
