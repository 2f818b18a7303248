// One JSON object per line, read without building it: only the wanted top-level strings are kept, so that depth and
// size of hostile input cost nothing. Local.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/document_reader.hpp"

namespace osler::text {

struct JsonRecord {
  std::string id;    ///< top-level "id" when it is a string or an integer, else empty
  std::string text;  ///< the wanted fields, in the order asked for, joined by newlines
};

struct RecordProblem {
  DropReason reason;
  std::string detail;  ///< no text of the record
};

/// Deepest nesting that is accepted.
inline constexpr int kMaxJsonDepth = 64;

/// Strict: one object, no duplicate keys at any level, every wanted field present and a string.
std::optional<RecordProblem> parse_json_record(std::string_view line, const std::vector<std::string>& fields,
                                               JsonRecord& record);

}  // namespace osler::text
