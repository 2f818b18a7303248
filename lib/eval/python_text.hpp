// Strings as Python's str sees them: lm-eval strips and measures in characters, and equal prompts need equal rules.
// Text is well-formed UTF-8. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace osler::eval {

std::int64_t num_characters(std::string_view text);  ///< code points: len(str)
std::string_view rstrip(std::string_view text);      ///< str.rstrip(): Unicode white space
std::string_view strip(std::string_view text);       ///< str.strip()

}  // namespace osler::eval
