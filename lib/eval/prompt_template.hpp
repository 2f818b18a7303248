// A prompt as a readable file: sections of text with fields in braces (docs/prompts.md). Strict: an unknown section or
// field, a brace that is never closed or a section that stands twice is a ConfigError with file and line. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace osler::eval {

/// What the fields stand for. Empty context, options, subject or rationale take their line with them.
struct PromptFields {
  std::string question;
  std::string context;
  std::string options;  ///< the options as lines
  std::string choices;  ///< "A, B, C or D"
  std::string subject;
  std::string answer;     ///< "B", "yes", or an option's text
  std::string rationale;  ///< the reasoning before the answer
};

class PromptTemplate {
 public:
  PromptTemplate() = default;
  /// `origin` names the file in errors.
  PromptTemplate(std::string_view text, const std::string& origin);

  /// "system", "question", "answer", "exemplar", "option", or with "text " before it the form for eval.scoring = text,
  /// which falls back to the plain one. Throws InternalError for a section that is not there and has no default.
  std::string render(const std::string& section, const PromptFields& fields) const;
  bool has(const std::string& section) const;
  /// One option's line.
  std::string option_line(const std::string& letter, const std::string& option) const;
  const std::vector<std::string>& stops() const { return stops_; }
  const std::string& origin() const { return origin_; }
  const std::string& sha256() const { return sha256_; }  ///< of the file's text

 private:
  struct Piece {
    bool is_field = false;
    std::string text;
  };
  using Line = std::vector<Piece>;

  void add_section(const std::string& name, std::vector<std::pair<std::int64_t, std::string>> lines);
  Line parse_line(const std::string& section, std::int64_t number, std::string_view text) const;
  [[noreturn]] void fail(std::int64_t line, const std::string& what) const;

  std::string origin_;
  std::string sha256_;
  std::map<std::string, std::vector<Line>> sections_;
  std::vector<std::string> stops_;
};

}  // namespace osler::eval
