#include "text/utf8.hpp"

#include <unicode/uchar.h>
#include <unicode/utf8.h>

#include <cstdint>
#include <cstring>

namespace osler::text {

std::size_t find_bad_utf8(std::string_view text) {
  constexpr std::uint64_t kHighBits = 0x8080808080808080ULL;
  const char* data = text.data();
  const std::size_t size = text.size();
  std::size_t i = 0;
  while (i < size) {
    std::uint64_t word = 0;
    while (i + 8 <= size) {  // ASCII, eight at a time
      std::memcpy(&word, data + i, 8);
      if ((word & kHighBits) != 0) break;
      i += 8;
    }
    while (i < size && static_cast<signed char>(data[i]) >= 0) ++i;
    while (i < size && static_cast<signed char>(data[i]) < 0) {
      const std::size_t start = i;
      // The macro wants a signed index; a sequence is at most four bytes long.
      const std::int32_t length = static_cast<std::int32_t>(size - i < 4 ? size - i : 4);
      std::int32_t used = 0;
      UChar32 point = 0;
      U8_NEXT(data + start, used, length, point);
      if (point < 0) return start;
      i = start + static_cast<std::size_t>(used);
    }
  }
  return std::string_view::npos;
}

bool is_blank(std::string_view text) {
  std::size_t i = 0;
  while (i < text.size()) {
    const std::int32_t length = static_cast<std::int32_t>(text.size() - i < 4 ? text.size() - i : 4);
    std::int32_t used = 0;
    UChar32 point = 0;
    U8_NEXT(text.data() + i, used, length, point);
    if (point != 0xFEFF && !u_isUWhiteSpace(point)) return false;
    i += static_cast<std::size_t>(used);
  }
  return true;
}

}  // namespace osler::text
