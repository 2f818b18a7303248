#include "config/strict_json.hpp"

#include <unordered_set>
#include <vector>

#include "base/error.hpp"

namespace osler::config {

nlohmann::json parse_strict_json(std::string_view text, const std::string& origin, int max_depth) {
  using Event = nlohmann::json::parse_event_t;
  if (text.substr(0, 3) == "\xEF\xBB\xBF")
    throw DataError(origin, " starts with a byte order mark: not allowed in JSON");
  if (text.find('\0') != std::string_view::npos) throw DataError(origin, " is not valid JSON: it holds a NUL byte");
  std::vector<std::unordered_set<std::string>> open_objects;
  const auto guard = [&](int depth, Event event, nlohmann::json& parsed) {
    if ((event == Event::object_start || event == Event::array_start) && depth > max_depth)
      throw DataError(origin, " is nested more than ", max_depth, " levels deep");
    if (event == Event::object_start) open_objects.emplace_back();
    if (event == Event::object_end) open_objects.pop_back();
    if (event == Event::key && !open_objects.back().insert(parsed.get<std::string>()).second)
      throw DataError(origin, " has the key '", parsed.get<std::string>(), "' twice in one object");
    return true;
  };
  try {
    return nlohmann::json::parse(text.begin(), text.end(), guard);
  } catch (const nlohmann::json::parse_error& error) {
    // The library's own message repeats what it read: any bytes, perhaps text that must not reach a log.
    throw DataError(origin, " is not valid JSON at byte ", error.byte);
  } catch (const nlohmann::json::exception& error) {
    throw DataError(origin, " is not valid JSON: error ", error.id);
  }
}

}  // namespace osler::config
