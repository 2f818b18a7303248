// Conversations out of JSONL records: `messages` (a list of {role, content}), `prompt` with `completion`, or Alpaca's
// `instruction`, `input` and `output`; looked for in this order, other fields are ignored. Local.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/conversation.hpp"
#include "text/json_record.hpp"

namespace osler::text {

struct ChatRecord {
  std::string id;                 ///< as JsonRecord::id
  std::vector<Message> messages;  ///< at most one system message, first; then user and assistant in turn, to an answer
};

/// As strict as parse_json_record, and: every message a string that is not blank (a blank system message or `input`
/// counts as absent), roles known and in order, the last one an answer.
std::optional<RecordProblem> parse_chat_record(std::string_view line, ChatRecord& record);

}  // namespace osler::text
