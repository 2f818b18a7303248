// One place of a text where an answer may stand: what is named there, and whether plainly. Internal to extract.
#pragma once

#include <cstddef>
#include <string_view>

#include "eval/extract.hpp"

namespace osler::eval {

enum class Reading {
  nothing,  ///< no answer stands here
  answer,
  refused,  ///< a statement that names none or several: it takes back what was said before
};

struct Value {
  Reading reading = Reading::nothing;
  Extraction found;  ///< position, begin and end
};

/// Reads `text` at `at`, over emphasis, brackets, quotes and LaTeX, up to and over at most two line breaks.
Value read_value(std::string_view text, std::size_t at, const AnswerKey& key);
/// Whether the line [begin, end) holds an answer and nothing else: a name, an option's text, or both.
Value read_line(std::string_view text, std::size_t begin, std::size_t end, const AnswerKey& key);

/// Whether `word` stands at `at`, letter case aside, and ends there.
bool has_word(std::string_view text, std::size_t at, std::string_view word);
/// `text` at `at` starts with `prefix`, ASCII letter case aside.
bool starts_with_fold(std::string_view text, std::size_t at, std::string_view prefix);
bool is_word_char(char c);  ///< letter, digit or any byte of a non-ASCII character
std::size_t skip(std::string_view text, std::size_t at, std::string_view characters);

}  // namespace osler::eval
