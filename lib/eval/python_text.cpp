#include "eval/python_text.hpp"

namespace osler::eval {

namespace {

std::size_t character_length(unsigned char lead) {
  return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

/// str.isspace(): bidirectional type WS, B or S, or category Zs.
bool is_space(std::string_view character) {
  if (character.size() == 1) {
    const auto c = static_cast<unsigned char>(character[0]);
    return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20);
  }
  if (character == "\u0085" || character == "\u00A0" || character == "\u1680" || character == "\u2028" ||
      character == "\u2029" || character == "\u202F" || character == "\u205F" || character == "\u3000")
    return true;
  return character.size() == 3 && character >= "\u2000" && character <= "\u200A";
}

}  // namespace

std::int64_t num_characters(std::string_view text) {
  std::int64_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return count;
}

std::string_view rstrip(std::string_view text) {
  while (!text.empty()) {
    std::size_t begin = text.size() - 1;
    while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
    if (!is_space(text.substr(begin))) break;
    text.remove_suffix(text.size() - begin);
  }
  return text;
}

std::string_view strip(std::string_view text) {
  text = rstrip(text);
  while (!text.empty()) {
    const std::string_view character = text.substr(0, character_length(static_cast<unsigned char>(text[0])));
    if (!is_space(character)) break;
    text.remove_prefix(character.size());
  }
  return text;
}

}  // namespace osler::eval
