// A place in a text that patterns advance: each function eats what it names or leaves the cursor and returns nothing.
// Local to the scan for identifiers.
#pragma once

#include <unicode/uchar.h>
#include <unicode/utf8.h>

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace osler::text {

inline bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
inline bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
inline char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

/// Whether a letter, digit or underscore ends right before `at`.
inline bool is_word_before(std::string_view text, std::size_t at) {
  if (at == 0) return false;
  const char c = text[at - 1];
  if (static_cast<signed char>(c) >= 0) return is_digit(c) || is_letter(c) || c == '_';
  const std::size_t window = at < 4 ? 0 : at - 4;  // the macro wants a 32-bit index
  auto offset = static_cast<std::int32_t>(at - window);
  UChar32 point = 0;
  U8_PREV(text.data() + window, 0, offset, point);
  return u_isalnum(point);
}

class IdentifierCursor {
 public:
  IdentifierCursor(std::string_view text, std::size_t at) : text_(text), at_(at) {}

  std::size_t at() const { return at_; }
  void go(std::size_t at) { at_ = at; }
  char peek(std::size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  bool at_word() const {
    if (at_ >= text_.size()) return false;
    const char c = text_[at_];
    if (static_cast<signed char>(c) >= 0) return is_digit(c) || is_letter(c) || c == '_';
    return u_isalnum(point_here());
  }
  bool eat(char c) {
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  /// ASCII letters of `word` (lower case), in any case.
  bool eat_word(std::string_view word) {
    if (text_.size() - at_ < word.size()) return false;
    for (std::size_t i = 0; i < word.size(); ++i) {
      if (lower(text_[at_ + i]) != word[i]) return false;
    }
    at_ += word.size();
    return true;
  }
  bool eat_exactly(std::string_view word) {
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }
  /// Up to `most` digits; returns how many.
  int eat_digits(int most) {
    int count = 0;
    while (count < most && is_digit(peek())) ++at_, ++count;
    return count;
  }
  /// A whole number of `least` to `most` digits, at most nine, as a value; -1 for none.
  int eat_number(int least, int most) {
    int value = 0;
    int count = 0;
    for (; count < most && is_digit(peek()); ++count, ++at_) value = value * 10 + (peek() - '0');
    return count < least || is_digit(peek()) ? -1 : value;
  }
  /// A blank, tab or no-break space.
  bool eat_blank() {
    if (eat(' ') || eat('\t')) return true;
    return eat_exactly("\xC2\xA0") || eat_exactly("\xE2\x80\xAF");
  }
  /// Up to four of them.
  bool eat_blanks() {
    bool any = false;
    for (int i = 0; i < 4 && eat_blank(); ++i) any = true;
    return any;
  }
  /// A hyphen or dash, ASCII or typographic (U+2010 to U+2014, U+2212).
  bool eat_dash() {
    if (eat('-')) return true;
    for (const std::string_view dash :
         {"\xE2\x80\x90", "\xE2\x80\x91", "\xE2\x80\x92", "\xE2\x80\x93", "\xE2\x80\x94", "\xE2\x88\x92"})
      if (eat_exactly(dash)) return true;
    return false;
  }
  /// Whether no number goes on here: "1.5", "1/2" and "1-2" do.
  bool number_ends() const {
    if (at_word()) return false;
    const char c = peek();
    if ((c == '.' || c == '/' || c == '-' || c == ',') && is_digit(peek(1))) return false;
    return true;
  }
  UChar32 point_here() const {
    auto offset = static_cast<std::int64_t>(at_);
    UChar32 point = 0;
    if (at_ >= text_.size()) return 0;
    U8_NEXT(text_.data(), offset, static_cast<std::int64_t>(text_.size()), point);
    return point;
  }
  void skip_point() {
    auto offset = static_cast<std::int64_t>(at_);
    U8_FWD_1(text_.data(), offset, static_cast<std::int64_t>(text_.size()));
    at_ = static_cast<std::size_t>(offset);
  }
  std::string_view since(std::size_t begin) const { return text_.substr(begin, at_ - begin); }
  std::string_view text() const { return text_; }

 private:
  std::string_view text_;
  std::size_t at_;
};

}  // namespace osler::text
