// One record of a benchmark file: a JSON object that knows its file and line, so that every complaint names both.
// Strict: duplicate keys, deep nesting and wrong types are refused. Internal to eval (shows nlohmann's type).
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.hpp"

namespace osler::eval {

using Json = nlohmann::ordered_json;

/// Parses `text`, whose first line is line `line` of `file`. Throws DataError with file and line.
Json parse_json(std::string_view text, const std::string& file, std::int64_t line);

class JsonRecord {
 public:
  /// Throws DataError unless `value` is an object.
  JsonRecord(Json value, std::string file, std::int64_t line);

  const Json& json() const { return value_; }
  std::int64_t line() const { return line_; }
  bool has(const std::string& key) const;  ///< present and not null
  const Json& at(const std::string& key) const;
  const std::string& text(const std::string& key) const;         ///< a string that is not blank
  const std::string& option_text(const std::string& key) const;  ///< a string, may be empty
  std::vector<std::string> texts(const std::string& key) const;  ///< a list of strings
  /// Options as a list, or as a map whose keys are A, B, C ... without a gap.
  std::vector<std::string> options(const std::string& key) const;

  template <class... Args>
  [[noreturn]] void fail(const Args&... what) const {
    throw DataError(file_, ":", line_, ": ", what...);
  }

 private:
  Json value_;
  std::string file_;
  std::int64_t line_;
};

/// The records of a JSONL file; blank lines are skipped. Throws DataError when there is none.
std::vector<JsonRecord> read_json_lines(std::string_view text, const std::string& file);

}  // namespace osler::eval
