#include "text/chat_record.hpp"

#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.hpp"
#include "text/utf8.hpp"

namespace osler::text {
namespace {

using Json = nlohmann::json;
using Refusal = std::optional<RecordProblem>;

constexpr std::array kRoles{Role::system, Role::user, Role::assistant};

std::optional<Role> role_from_name(const std::string& name) {
  for (const Role role : kRoles)
    if (name == name_of(role)) return role;
  return std::nullopt;
}

Refusal read_string(const Json& object, const char* field, const std::string& where, std::string& value) {
  const auto found = object.find(field);
  if (found == object.end()) return RecordProblem{DropReason::missing_field, text_of(where, "no field '", field, "'")};
  if (!found->is_string())
    return RecordProblem{DropReason::missing_field, text_of(where, "field '", field, "' is not a string")};
  value = found->get<std::string>();
  return std::nullopt;
}

Refusal read_messages(const Json& list, std::vector<Message>& messages) {
  if (!list.is_array()) return RecordProblem{DropReason::missing_field, "field 'messages' is not a list"};
  for (const Json& entry : list) {
    const std::string where = text_of("message ", messages.size() + 1, ": ");
    if (!entry.is_object()) return RecordProblem{DropReason::missing_field, where + "not an object"};
    std::string role_name;
    Message& message = messages.emplace_back();
    if (auto problem = read_string(entry, "role", where, role_name)) return problem;
    if (auto problem = read_string(entry, "content", where, message.content)) return problem;
    const std::optional<Role> role = role_from_name(role_name);
    if (!role) return RecordProblem{DropReason::bad_turns, where + "its role is not system, user or assistant"};
    message.role = *role;
  }
  return std::nullopt;
}

Refusal read_pair(const Json& record, const char* asked, const char* answered, std::vector<Message>& messages) {
  messages = {{Role::user, {}}, {Role::assistant, {}}};
  if (auto problem = read_string(record, asked, "", messages[0].content)) return problem;
  return read_string(record, answered, "", messages[1].content);
}

Refusal read_alpaca(const Json& record, std::vector<Message>& messages) {
  if (auto problem = read_pair(record, "instruction", "output", messages)) return problem;
  std::string input;
  if (record.contains("input"))
    if (auto problem = read_string(record, "input", "", input)) return problem;
  if (!is_blank(input)) messages[0].content += "\n\n" + input;
  return std::nullopt;
}

Refusal check_turns(const std::vector<Message>& messages) {
  const auto wrong = [](std::size_t at, const std::string& what) {
    return RecordProblem{DropReason::bad_turns, text_of("message ", at + 1, ": ", what)};
  };
  if (messages.empty()) return RecordProblem{DropReason::empty, "no message"};
  const std::size_t first = messages.front().role == Role::system ? 1 : 0;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const bool wants_user = (i - first) % 2 == 0;
    if (i >= first && messages[i].role != (wants_user ? Role::user : Role::assistant))
      return wrong(i, text_of("of the ", name_of(messages[i].role), " where the ", wants_user ? "user" : "assistant",
                              " is next"));
    if (is_blank(messages[i].content))
      return RecordProblem{DropReason::empty,
                           text_of("message ", i + 1, " (", name_of(messages[i].role), ") is empty")};
  }
  if (messages.back().role != Role::assistant) return wrong(messages.size() - 1, "the last, and not an answer");
  return std::nullopt;
}

}  // namespace

std::string joined(const std::vector<Message>& messages) {
  std::string text;
  for (const Message& message : messages) text += (text.empty() ? "" : "\n") + message.content;
  return text;
}

const char* name_of(Role role) {
  switch (role) {
    case Role::system:
      return "system";
    case Role::user:
      return "user";
    case Role::assistant:
      return "assistant";
  }
  throw InternalError("unknown role");
}

Refusal parse_chat_record(std::string_view line, ChatRecord& record) {
  JsonRecord envelope;
  if (auto problem = parse_json_record(line, {}, envelope)) return problem;  // bounds depth before a tree is built
  record.id = std::move(envelope.id);
  record.messages.clear();
  const Json json = Json::parse(line);
  Refusal problem;
  if (json.contains("messages"))
    problem = read_messages(json["messages"], record.messages);
  else if (json.contains("prompt") || json.contains("completion"))
    problem = read_pair(json, "prompt", "completion", record.messages);
  else if (json.contains("instruction") || json.contains("output"))
    problem = read_alpaca(json, record.messages);
  else
    problem = RecordProblem{DropReason::missing_field,
                            "no 'messages', 'prompt' and 'completion', or 'instruction' and "
                            "'output'"};
  if (problem) return problem;
  if (!record.messages.empty() && record.messages.front().role == Role::system &&
      is_blank(record.messages.front().content))
    record.messages.erase(record.messages.begin());
  return check_turns(record.messages);
}

}  // namespace osler::text
