#include "eval/prompt_template.hpp"

#include <algorithm>
#include <array>
#include <set>

#include "base/error.hpp"
#include "base/sha256.hpp"
#include "text/utf8.hpp"

namespace osler::eval {

namespace {

constexpr std::string_view kText = "text ";
const std::set<std::string> kSections = {"system", "question", "answer", "exemplar", "option", "stop"};
const std::set<std::string> kOptionalFields = {"context", "options", "subject", "rationale"};

/// The fields that a section may use.
const std::set<std::string>& fields_of_section(const std::string& section) {
  static const std::set<std::string> asking = {"question", "question?", "context", "options", "choices", "subject"};
  static const std::set<std::string> solved = [] {
    std::set<std::string> all = asking;
    all.insert({"answer", "rationale"});
    return all;
  }();
  static const std::set<std::string> option = {"letter", "option"};
  if (section == "option") return option;
  return section == "answer" || section == "exemplar" ? solved : asking;
}

std::string plain_name(const std::string& section) {
  return section.starts_with(kText) ? section.substr(kText.size()) : section;
}

std::string joined(const std::set<std::string>& names) {
  std::string text;
  for (const std::string& name : names) {
    if (!text.empty()) text += ", ";
    text += name;
  }
  return text;
}

/// \n in a stop string is a line break.
std::string unescaped(std::string_view line) {
  std::string text;
  for (std::size_t at = 0; at < line.size(); ++at) {
    const bool is_break = line.substr(at).starts_with("\\n");
    text += is_break ? '\n' : line[at];
    at += is_break ? 1 : 0;
  }
  return text;
}

/// Meditron asks every question with a mark at its end. Source: meditron, evaluation/benchmarks.py format_mcq.
std::string with_mark(const std::string& question) {
  return question.ends_with('?') || question.ends_with('.') ? question : question + "?";
}

std::string value_of(const std::string& field, const PromptFields& fields) {
  if (field == "question") return fields.question;
  if (field == "question?") return with_mark(fields.question);
  if (field == "context") return fields.context;
  if (field == "options") return fields.options;
  if (field == "choices") return fields.choices;
  if (field == "subject") return fields.subject;
  if (field == "answer") return fields.answer;
  OSLER_CHECK(field == "rationale", field);
  return fields.rationale;
}

}  // namespace

void PromptTemplate::fail(std::int64_t line, const std::string& what) const {
  throw ConfigError(origin_, ":", line, ": ", what);
}

PromptTemplate::PromptTemplate(std::string_view text, const std::string& origin)
    : origin_(origin), sha256_(sha256_hex(text)) {
  if (const std::size_t bad = text::find_bad_utf8(text); bad != std::string_view::npos)
    fail(1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(bad), '\n'), "not valid UTF-8");
  std::string section;
  std::vector<std::pair<std::int64_t, std::string>> lines;
  std::int64_t number = 0;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string line(text.substr(begin, end - begin));
    begin = end + 1;
    ++number;
    const bool is_heading = line.size() > 2 && line.front() == '[' && line.back() == ']' &&
                            kSections.contains(plain_name(line.substr(1, line.size() - 2)));
    if (!is_heading && !section.empty()) {
      lines.emplace_back(number, std::move(line));
      continue;
    }
    if (!is_heading) {
      if (!line.empty() && line.front() != '#')
        fail(number, "a section such as [question] is expected before any text; sections: " + joined(kSections));
      continue;
    }
    if (!section.empty()) add_section(section, std::move(lines));
    section = line.substr(1, line.size() - 2);
    lines.clear();
    if (sections_.contains(section)) fail(number, "the section [" + section + "] stands twice");
  }
  if (!section.empty()) add_section(section, std::move(lines));
  for (const char* needed : {"question", "answer"})
    if (!sections_.contains(needed)) fail(number, text_of("the section [", needed, "] is missing"));
}

void PromptTemplate::add_section(const std::string& name, std::vector<std::pair<std::int64_t, std::string>> lines) {
  while (!lines.empty() && lines.back().second.empty()) lines.pop_back();  // the file's own line breaks
  if (name == "stop") {
    for (const auto& [number, line] : lines) {
      if (line.empty()) fail(number, "a stop string is empty");
      stops_.push_back(unescaped(line));
    }
    sections_[name];
    return;
  }
  if (lines.empty()) fail(1, "the section [" + name + "] is empty");
  std::vector<Line>& parsed = sections_[name];
  for (const auto& [number, line] : lines) parsed.push_back(parse_line(plain_name(name), number, line));
}

PromptTemplate::Line PromptTemplate::parse_line(const std::string& section, std::int64_t number,
                                                std::string_view text) const {
  Line line;
  std::string literal;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    const bool doubled = at + 1 < text.size() && text[at + 1] == c;
    if ((c == '{' || c == '}') && doubled) {
      literal += c;
      ++at;
    } else if (c == '}') {
      fail(number, "a } without its {; write }} for the character itself");
    } else if (c == '{') {
      const std::size_t close = text.find('}', at);
      if (close == std::string_view::npos) fail(number, "a { is never closed; write {{ for the character itself");
      const std::string field(text.substr(at + 1, close - at - 1));
      if (!fields_of_section(section).contains(field))
        fail(number,
             text_of("{", field, "} is no field of [", section, "]; fields: ", joined(fields_of_section(section))));
      if (!literal.empty()) line.push_back({false, std::move(literal)});
      literal.clear();
      line.push_back({true, field});
      at = close;
    } else {
      literal += c;
    }
  }
  if (!literal.empty()) line.push_back({false, std::move(literal)});
  return line;
}

bool PromptTemplate::has(const std::string& section) const {
  return sections_.contains(section) || sections_.contains(plain_name(section));
}

std::string PromptTemplate::render(const std::string& section, const PromptFields& fields) const {
  const auto own = sections_.find(section);
  const auto found = own != sections_.end() ? own : sections_.find(plain_name(section));
  OSLER_CHECK(found != sections_.end(), section);
  std::string text;
  bool is_first = true;
  for (const Line& line : found->second) {
    std::string rendered;
    bool is_left_out = false;
    for (const Piece& piece : line) {
      const std::string value = piece.is_field ? value_of(piece.text, fields) : piece.text;
      is_left_out = is_left_out || (piece.is_field && value.empty() && kOptionalFields.contains(piece.text));
      rendered += value;
    }
    if (is_left_out) continue;
    if (!is_first) text += '\n';
    text += rendered;
    is_first = false;
  }
  return text;
}

std::string PromptTemplate::option_line(const std::string& letter, const std::string& option) const {
  const auto found = sections_.find("option");
  if (found == sections_.end()) return letter + ". " + option;
  std::string text;
  for (const Line& line : found->second) {
    if (!text.empty()) text += '\n';
    for (const Piece& piece : line) text += !piece.is_field ? piece.text : piece.text == "letter" ? letter : option;
  }
  return text;
}

}  // namespace osler::eval
