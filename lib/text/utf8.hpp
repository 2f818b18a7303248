// Strict UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing above U+10FFFF. Local.
#pragma once

#include <cstddef>
#include <string_view>

namespace osler::text {

/// Offset of the first byte of an ill-formed sequence, or npos when all of it is well formed.
std::size_t find_bad_utf8(std::string_view text);

/// Whether nothing but white space (Unicode White_Space) and byte order marks is in well-formed `text`.
bool is_blank(std::string_view text);

}  // namespace osler::text
