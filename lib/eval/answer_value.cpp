#include "eval/answer_value.hpp"

#include <algorithm>
#include <array>
#include <cctype>

#include "eval/python_text.hpp"

namespace osler::eval {

namespace {

constexpr std::string_view kBlanks = " \t";
constexpr std::string_view kOpeners = " \t*_`$\"'([{<";
constexpr std::string_view kClosers = "*_`$\"')]}>";
constexpr std::array<std::string_view, 7> kLatex = {"\\boxed{",  "\\text{", "\\textbf{", "\\mathrm{",
                                                    "\\mathbf{", "\\(",     "\\["};
constexpr std::array<std::string_view, 3> kTitles = {"option", "choice", "letter"};
constexpr std::array<std::string_view, 9> kNoChoice = {"none",    "neither", "both",   "all",      "unknown",
                                                       "unclear", "cannot",  "either", "uncertain"};
constexpr std::array<std::string_view, 3> kReasons = {"because", "since", "given"};
constexpr std::array<std::string_view, 3> kMore = {"and", "or", "plus"};

char fold(char c) {
  return static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
}

/// Over everything that may surround a name; line breaks at most two.
std::size_t skip_openers(std::string_view text, std::size_t at) {
  int num_breaks = 0;
  for (bool moved = true; moved;) {
    const std::size_t before = at;
    at = skip(text, at, kOpeners);
    for (const std::string_view latex : kLatex)
      if (text.substr(at).starts_with(latex)) at += latex.size();
    for (const std::string_view title : kTitles)
      if (has_word(text, at, title)) at += title.size();
    if (has_word(text, at, "the") && std::any_of(kTitles.begin(), kTitles.end(),
                                                 [&](std::string_view title) { return has_word(text, at + 4, title); }))
      at += 4;
    if (at < text.size() && text[at] == '\n' && num_breaks < 2) ++at, ++num_breaks;
    moved = at != before;
  }
  return at;
}

/// The option named at `at` by its letter (either case) or word; sets `end`. None if a longer word stands there.
std::optional<std::int64_t> name_at(std::string_view text, std::size_t at, const AnswerKey& key, std::size_t& end) {
  if (at >= text.size()) return std::nullopt;
  if (key.are_words) {
    for (std::size_t i = 0; i < key.options.size(); ++i) {
      if (!has_word(text, at, key.options[i])) continue;
      end = at + key.options[i].size();
      return static_cast<std::int64_t>(i);
    }
    return std::nullopt;
  }
  const char c = fold(text[at]);
  if (c < 'a' || c > 'z' || (at + 1 < text.size() && is_word_char(text[at + 1]))) return std::nullopt;
  end = at + 1;
  return c - 'a';  // may lie beyond the options
}

/// Whether the text of an option stands at `at` and ends there; sets `end`.
bool option_at(std::string_view text, std::size_t at, std::string_view option, std::size_t& end) {
  option = strip(option);
  if (option.empty() || !starts_with_fold(text, at, option)) return false;
  end = at + option.size();
  return end == text.size() || !is_word_char(text[end]);
}

bool is_another(std::string_view text, std::size_t at, const AnswerKey& key, std::int64_t position) {
  std::size_t end = 0;
  const std::size_t start = skip_openers(text, at);
  const auto other = name_at(text, start, key, end);
  if (!other || *other == position || *other >= static_cast<std::int64_t>(key.options.size())) return false;
  if (!key.are_words && !std::isupper(static_cast<unsigned char>(text[start]))) return false;
  // "B, A patient ..." starts a sentence; "B, A" and "B, A and C" go on with the list.
  const std::size_t after = skip(text, end, kClosers);
  const std::size_t next = skip(text, after, kBlanks);
  return next == text.size() || !is_word_char(text[next]) || after > end ||
         std::any_of(kMore.begin(), kMore.end(), [&](std::string_view word) { return has_word(text, next, word); });
}

/// Whether more names follow what ends at `at`: "B or C", "B, C", "B/C".
bool goes_on(std::string_view text, std::size_t at, const AnswerKey& key, std::int64_t position) {
  at = skip(text, at, kBlanks);
  bool has_link = false;
  while (at < text.size() && std::string_view(",/&;+").find(text[at]) != std::string_view::npos) {
    has_link = true;
    at = skip(text, at + 1, kBlanks);
  }
  for (const std::string_view word : kMore) {
    if (!has_word(text, at, word)) continue;
    has_link = true;
    at = skip(text, at + word.size(), kBlanks);
  }
  for (const std::string_view title : kTitles)
    if (has_word(text, at, title)) at = skip(text, at + title.size(), kBlanks);
  return has_link && is_another(text, at, key, position);
}

/// Whether a name that ends at `end` stands for itself, judged by what follows it.
bool stands_alone(std::string_view text, std::size_t end, bool is_lower, const AnswerKey& key, std::int64_t position) {
  const std::string_view option = key.options[static_cast<std::size_t>(position)];
  const std::size_t closed = skip(text, end, kClosers);
  const std::size_t next = skip(text, closed, kBlanks);
  if (next == text.size() || text[next] == '\n') return true;
  if (text[next] == '<') return true;  // the end of a tag
  const char c = text[closed];
  std::size_t ignored = 0;
  if (c == '.' || c == ':' || c == '!') {
    const std::size_t after = skip(text, skip(text, closed + 1, kClosers), kBlanks);
    if (after == text.size() || text[after] == '\n' || text[after] == '<' || text[after] == '\\') return true;
    if (!key.are_words && option_at(text, after, option, ignored)) return true;
    // "E. coli" and "No. 5" go on; a new sentence does not.
    return !is_lower && !std::islower(static_cast<unsigned char>(text[after])) &&
           !std::isdigit(static_cast<unsigned char>(text[after]));
  }
  if (c == ',' || c == ';') return !is_lower || key.are_words;
  if (c == '?' || c == '-' || c == '/' || c == '\'') return false;
  if (closed > end && !is_lower) return true;  // "(B) Liver", "**B** as ..."
  if (!key.are_words && option_at(text, next, option, ignored)) return true;
  if (is_lower && !key.are_words) return false;
  if (text[next] == '(' || text.substr(next).starts_with("- ") || text.substr(next).starts_with("\u2013 ") ||
      text.substr(next).starts_with("\u2014"))
    return true;
  return std::any_of(kReasons.begin(), kReasons.end(),
                     [&](std::string_view word) { return has_word(text, next, word); });
}

/// The only option whose whole text stands at `at`, to the end of its line or sentence.
std::optional<std::int64_t> option_text_at(std::string_view text, std::size_t at, const AnswerKey& key,
                                           std::size_t& end) {
  std::optional<std::int64_t> found;
  for (std::size_t i = 0; i < key.options.size(); ++i) {
    std::size_t option_end = 0;
    if (!option_at(text, at, key.options[i], option_end)) continue;
    const std::size_t after = skip(text, skip(text, option_end, kClosers), ".!");
    const std::size_t next = skip(text, skip(text, after, kClosers), kBlanks);
    if (next != text.size() && text[next] != '\n') continue;
    if (found) return std::nullopt;
    found = static_cast<std::int64_t>(i);
    end = option_end;
  }
  return found;
}

}  // namespace

bool is_word_char(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || static_cast<unsigned char>(c) >= 0x80;
}

std::size_t skip(std::string_view text, std::size_t at, std::string_view characters) {
  return std::min(text.find_first_not_of(characters, at), text.size());
}

bool starts_with_fold(std::string_view text, std::size_t at, std::string_view prefix) {
  if (at > text.size() || text.size() - at < prefix.size()) return false;
  return std::equal(prefix.begin(), prefix.end(), text.begin() + static_cast<std::ptrdiff_t>(at),
                    [](char a, char b) { return fold(a) == fold(b); });
}

bool has_word(std::string_view text, std::size_t at, std::string_view word) {
  if (!starts_with_fold(text, at, word)) return false;
  const std::size_t end = at + word.size();
  return end == text.size() || !is_word_char(text[end]);
}

Value read_value(std::string_view text, std::size_t at, const AnswerKey& key) {
  at = skip_openers(text, at);
  Value value;
  value.found.begin = at;
  for (const std::string_view word : kNoChoice)
    if (has_word(text, at, word)) value.reading = Reading::refused;
  std::size_t end = 0;
  if (const auto whole = option_text_at(text, at, key, end); whole && !key.are_words) {
    value.reading = Reading::answer;
    value.found.position = whole;
    value.found.end = end;
    return value;
  }
  const auto name = name_at(text, at, key, end);
  if (!name) return value;
  const bool is_lower = !key.are_words && std::islower(static_cast<unsigned char>(text[at]));
  if (*name >= static_cast<std::int64_t>(key.options.size())) {
    const std::size_t next = skip(text, end, kClosers);
    const bool ends = next == text.size() || text[next] == '\n' || text[next] == '.';
    if (ends && !is_lower) value.reading = Reading::refused;
    return value;
  }
  value.found.end = end;
  if (goes_on(text, skip(text, end, kClosers), key, *name)) {
    value.reading = Reading::refused;
  } else if (stands_alone(text, end, is_lower, key, *name)) {
    value.reading = Reading::answer;
    value.found.position = name;
  }
  return value;
}

Value read_line(std::string_view text, std::size_t begin, std::size_t end, const AnswerKey& key) {
  const std::string_view line = text.substr(0, end);
  const std::size_t at = skip_openers(line, begin);
  std::size_t name_end = 0;
  Value value;
  value.found.begin = at;
  if (const auto whole = option_text_at(line, at, key, name_end); whole && !key.are_words) {
    value.found.end = name_end;
    value.found.position = whole;
    value.reading = Reading::answer;
    return value;
  }
  const auto name = name_at(line, at, key, name_end);
  if (!name || *name >= static_cast<std::int64_t>(key.options.size())) return value;
  value.found.end = name_end;
  std::size_t next = skip(line, skip(line, skip(line, name_end, kClosers), ".:!,"), kClosers);
  next = skip(line, next, kBlanks);
  std::size_t option_end = 0;
  if (!key.are_words && option_at(line, next, key.options[static_cast<std::size_t>(*name)], option_end))
    next = skip(line, skip(line, option_end, kClosers), ".!");
  // A word may be followed by its explanation: "No, it does not."
  const bool is_explained = key.are_words && name_end < line.size() &&
                            (line[name_end] == ',' || line[name_end] == '.' || line[name_end] == ':') &&
                            next < line.size() && !std::isdigit(static_cast<unsigned char>(line[next])) &&
                            !goes_on(line, name_end, key, *name) && !is_another(line, next, key, *name);
  if (skip(line, skip(line, next, kClosers), kBlanks) != line.size() && !is_explained) return value;
  value.found.position = name;
  value.reading = Reading::answer;
  return value;
}

}  // namespace osler::eval
