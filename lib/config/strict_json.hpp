// JSON from outside: UTF-8, no duplicate keys, no byte order mark, bounded nesting (nlohmann alone takes the last of
// two equal keys and overflows the stack when a deep value is copied). Local.
#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>

namespace osler::config {

/// `origin` names the text in errors. Throws DataError with the position of what is wrong.
nlohmann::json parse_strict_json(std::string_view text, const std::string& origin, int max_depth = 16);

}  // namespace osler::config
