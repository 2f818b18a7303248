#include "eval/extract.hpp"

#include <algorithm>
#include <array>

#include "eval/answer_value.hpp"
#include "eval/python_text.hpp"

namespace osler::eval {

namespace {

constexpr std::string_view kBlanks = " \t";
constexpr std::string_view kEmphasis = " \t*_`";
constexpr std::array<std::string_view, 5> kVerbs = {"is", "should be", "would be", "must be", "will be"};
constexpr std::array<std::string_view, 5> kPraise = {"correct", "right", "best", "final", "most appropriate"};
constexpr std::array<std::string_view, 4> kDoubt = {"wrong", "incorrect", "if the", "if"};

bool ends_with_word(std::string_view text, std::string_view word) {
  text = rstrip(text);
  while (!text.empty() && std::string_view("*_`\"'").find(text.back()) != std::string_view::npos) text.remove_suffix(1);
  if (text.size() < word.size() || !starts_with_fold(text, text.size() - word.size(), word)) return false;
  return text.size() == word.size() || !is_word_char(text[text.size() - word.size() - 1]);
}

template <class Words>
bool ends_with_any(std::string_view text, const Words& words) {
  return std::any_of(words.begin(), words.end(), [&](std::string_view word) { return ends_with_word(text, word); });
}

/// "answer is", "Answer:", "the correct option should be": where the value starts, or npos.
std::size_t after_marker(std::string_view text, std::size_t at) {
  if (at > 0 && is_word_char(text[at - 1])) return std::string_view::npos;
  const std::string_view before = text.substr(0, at);
  std::size_t end = 0;
  if (starts_with_fold(text, at, "answer")) {
    end = at + 6;
  } else if ((starts_with_fold(text, at, "option") || starts_with_fold(text, at, "choice")) &&
             ends_with_any(before, kPraise)) {
    end = at + 6;
  } else {
    return std::string_view::npos;
  }
  const std::string_view praised = rstrip(before);
  if (ends_with_any(before, kDoubt)) return std::string_view::npos;
  for (const std::string_view praise : kPraise)
    if (ends_with_word(before, praise) && ends_with_any(praised.substr(0, praised.size() - praise.size()), kDoubt))
      return std::string_view::npos;
  for (const std::string_view tail : {" to this question", " to the question", " choice", " option"})
    if (starts_with_fold(text, end, tail)) end += tail.size();
  if (end < text.size() && is_word_char(text[end])) return std::string_view::npos;
  end = skip(text, end, kEmphasis);
  for (const std::string_view verb : kVerbs) {
    if (!has_word(text, end, verb)) continue;
    end = skip(text, end + verb.size(), kEmphasis);
    return end < text.size() && text[end] == ':' ? end + 1 : end;
  }
  if (end < text.size() && (text[end] == ':' || text[end] == '=' || text[end] == '>')) return end + 1;
  return text.substr(end).starts_with("- ") ? end + 2 : std::string_view::npos;
}

/// "B is the correct answer", "Option B is correct": the letter stands at `at`, at the start of a sentence or after its
/// title.
Value read_verdict(std::string_view text, std::size_t at, const AnswerKey& key) {
  Value value;
  if (key.are_words || text[at] < 'A' || text[at] >= 'A' + static_cast<char>(key.options.size())) return value;
  if (at + 1 < text.size() && is_word_char(text[at + 1])) return value;
  std::string_view before = text.substr(0, at);
  while (!before.empty() && std::string_view("(*[\"'").find(before.back()) != std::string_view::npos)
    before.remove_suffix(1);
  const std::string_view cut = rstrip(before);
  const bool starts =
      cut.empty() || before.back() == '\n' || std::string_view(".:;,!").find(cut.back()) != std::string_view::npos;
  if (!starts && !ends_with_word(before, "option") && !ends_with_word(before, "choice") &&
      !ends_with_word(before, "so") && !ends_with_word(before, "therefore"))
    return value;
  std::size_t next = skip(text, at + 1, " \t*)]\"'");
  if (!has_word(text, next, "is")) return value;
  next = skip(text, next + 2, kBlanks);
  if (has_word(text, next, "the")) next = skip(text, next + 3, kBlanks);
  for (const std::string_view praise : {"correct", "right", "best answer", "best option", "best choice", "answer"}) {
    if (!has_word(text, next, praise)) continue;
    value.reading = Reading::answer;
    value.found.position = text[at] - 'A';
    value.found.begin = at;
    value.found.end = at + 1;
  }
  return value;
}

/// The statement that starts at `at`, if one does.
Value read_statement(std::string_view text, std::size_t at, const AnswerKey& key) {
  if (starts_with_fold(text, at, "\\boxed{")) return read_value(text, at, key);
  const std::size_t start = after_marker(text, at);
  if (start != std::string_view::npos) return read_value(text, start, key);
  return read_verdict(text, at, key);
}

std::size_t end_of_sentence(std::string_view text, std::size_t at) {
  return std::min({text.find(". ", at), text.find('\n', at), text.size()});
}

struct Line {
  std::size_t begin = 0;
  std::size_t end = 0;
};

std::vector<Line> lines_of(std::string_view text) {
  std::vector<Line> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    if (!strip(text.substr(begin, end - begin)).empty()) lines.push_back({begin, end});
    begin = end + 1;
  }
  return lines;
}

/// A response without any statement: its first or its last line is the answer alone, and no other line another one.
Extraction read_bare(std::string_view text, const AnswerKey& key) {
  const std::vector<Line> lines = lines_of(text);
  if (lines.empty()) return {};
  Extraction found;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const Value value = read_line(text, lines[i].begin, lines[i].end, key);
    if (value.reading != Reading::answer) continue;
    if (found.position && found.position != value.found.position) return {};
    if (i != 0 && i + 1 != lines.size()) continue;
    found = value.found;
    found.statement_begin = lines[i].begin;
  }
  return found;
}

}  // namespace

Extraction extract_answer(std::string_view response, const AnswerKey& key) {
  Extraction last;
  bool is_stated = false;
  for (std::size_t at = 0; at < response.size(); ++at) {
    const Value value = read_statement(response, at, key);
    if (value.reading == Reading::nothing) continue;
    is_stated = true;
    last = value.reading == Reading::answer ? value.found : Extraction{};
    last.statement_begin = at;
    // Of a statement that names several, none of the others is a statement of its own.
    at = value.reading == Reading::refused ? end_of_sentence(response, at) : std::max(at, value.found.end - 1);
  }
  return is_stated ? last : read_bare(response, key);
}

std::string reasoning_before(std::string_view response, const Extraction& extraction) {
  const std::string_view before = response.substr(0, extraction.statement_begin);
  const std::size_t line = before.rfind('\n');
  const std::string_view lines = line == std::string_view::npos ? std::string_view() : before.substr(0, line);
  if (!strip(lines).empty()) return std::string(strip(lines));
  const std::size_t sentence = before.rfind(". ");
  return sentence == std::string_view::npos ? std::string() : std::string(strip(before.substr(0, sentence + 1)));
}

}  // namespace osler::eval
