#include "eval/json_record.hpp"

#include <algorithm>
#include <set>

#include "eval/python_text.hpp"

namespace osler::eval {

namespace {

// Benchmarks nest two or three deep; nlohmann's copy and dump recurse, so a hostile depth would end the stack.
constexpr int kMaxDepth = 32;

std::int64_t line_at(std::string_view text, std::size_t byte, std::int64_t first_line) {
  return first_line +
         std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(std::min(byte, text.size())), '\n');
}

std::int64_t line_of_last(std::string_view text, const std::string& key, std::int64_t first_line) {
  const std::size_t at = text.rfind('"' + key + '"');
  return at == std::string_view::npos ? first_line : line_at(text, at, first_line);
}

}  // namespace

Json parse_json(std::string_view text, const std::string& file, std::int64_t line) {
  std::vector<std::set<std::string>> keys;
  const auto check = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (depth > kMaxDepth) throw DataError(file, ":", line, ": JSON nested deeper than ", kMaxDepth, " levels");
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys.back().insert(key).second)
        throw DataError(file, ":", line_of_last(text, key, line), ": the key \"", key, "\" stands twice in one object");
    }
    return true;
  };
  try {
    return Json::parse(text.begin(), text.end(), check);
  } catch (const Json::parse_error& error) {
    throw DataError(file, ":", line_at(text, error.byte > 0 ? error.byte - 1 : 0, line), ": not valid JSON (byte ",
                    error.byte, " of the record)");
  } catch (const Json::exception&) {
    throw DataError(file, ":", line, ": JSON with a number out of range");
  }
}

JsonRecord::JsonRecord(Json value, std::string file, std::int64_t line)
    : value_(std::move(value)), file_(std::move(file)), line_(line) {
  if (!value_.is_object()) fail("a JSON object is expected, this is a ", value_.type_name());
}

bool JsonRecord::has(const std::string& key) const {
  const auto found = value_.find(key);
  return found != value_.end() && !found->is_null();
}

const Json& JsonRecord::at(const std::string& key) const {
  const auto found = value_.find(key);
  if (found == value_.end()) fail("the field \"", key, "\" is missing");
  return *found;
}

const std::string& JsonRecord::option_text(const std::string& key) const {
  const Json& value = at(key);
  if (!value.is_string()) fail("\"", key, "\" must be a string, not a ", value.type_name());
  return value.get_ref<const std::string&>();
}

const std::string& JsonRecord::text(const std::string& key) const {
  const std::string& value = option_text(key);
  if (strip(value).empty()) fail("\"", key, "\" is blank");
  return value;
}

std::vector<std::string> JsonRecord::texts(const std::string& key) const {
  const Json& value = at(key);
  if (!value.is_array()) fail("\"", key, "\" must be a list of strings, not a ", value.type_name());
  std::vector<std::string> texts;
  for (const Json& entry : value) {
    if (!entry.is_string()) fail("\"", key, "\" holds a ", entry.type_name(), " where a string is expected");
    texts.push_back(entry.get<std::string>());
  }
  return texts;
}

std::vector<std::string> JsonRecord::options(const std::string& key) const {
  const Json& value = at(key);
  std::vector<std::string> options;
  if (value.is_array()) {
    options = texts(key);
  } else if (value.is_object()) {
    for (char letter = 'A'; options.size() < value.size(); ++letter) {
      const auto found = value.find(std::string(1, letter));
      if (found == value.end())
        fail("\"", key, "\" must have the keys A, B, C ... without a gap; ", letter, " is missing");
      if (!found->is_string()) fail("option ", letter, " must be a string, not a ", found->type_name());
      options.push_back(found->get<std::string>());
    }
  } else {
    fail("\"", key, "\" must be a list or a map of options, not a ", value.type_name());
  }
  if (options.size() < 2 || options.size() > 26)
    fail("\"", key, "\" holds ", options.size(), " options; 2 to 26 are expected");
  return options;
}

std::vector<JsonRecord> read_json_lines(std::string_view text, const std::string& file) {
  std::vector<JsonRecord> records;
  std::int64_t line = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view content = text.substr(begin, end - begin);
    ++line;
    if (!strip(content).empty()) records.emplace_back(parse_json(content, file, line), file, line);
    begin = end + 1;
  }
  if (records.empty()) throw DataError(file, ":1: the file holds no question");
  return records;
}

}  // namespace osler::eval
