// Dates with a day, or a month and its year.
#include <array>

#include "text/identifier_cursor.hpp"
#include "text/identifier_patterns.hpp"

namespace osler::text {
namespace {

constexpr std::optional<IdentifierMatch> kNone;

std::optional<IdentifierMatch> date(std::size_t begin, std::size_t end) {
  return IdentifierMatch{Identifier::date, begin, end};
}

bool is_day(int value) {
  return value >= 1 && value <= 31;
}
bool is_month(int value) {
  return value >= 1 && value <= 12;
}
bool is_year(int value) {
  return value >= 1850 && value <= 2150;
}

/// Capital first: "may" and "march" are verbs.
bool eat_month(IdentifierCursor& cursor) {
  constexpr std::array<std::string_view, 12> kMonths{"january",   "february", "march",    "april",
                                                     "may",       "june",     "july",     "august",
                                                     "september", "october",  "november", "december"};
  const char first = cursor.peek();
  if (first < 'A' || first > 'Z') return false;
  const std::size_t begin = cursor.at();
  for (const std::string_view month : kMonths) {
    for (const std::string_view form :
         {month, month == "september" ? std::string_view("sept") : month, month.substr(0, 3)}) {
      cursor.go(begin);
      if (!cursor.eat_word(form) || cursor.at_word()) continue;
      if (form.size() < month.size()) cursor.eat('.');
      return true;
    }
  }
  cursor.go(begin);
  return false;
}

/// ", 2024", " 2024", "-2024"; nothing eaten when no year follows.
bool eat_year_behind(IdentifierCursor& cursor) {
  const std::size_t begin = cursor.at();
  const bool comma = cursor.eat(',');
  if (!cursor.eat_blanks() && !comma) cursor.eat_dash();
  const bool apart = cursor.at() > begin;
  if (apart && is_year(cursor.eat_number(4, 4)) && !cursor.at_word()) return true;
  cursor.go(begin);
  return false;
}

void eat_ordinal(IdentifierCursor& cursor) {
  const std::size_t begin = cursor.at();
  for (const std::string_view ending : {"st", "nd", "rd", "th"}) {
    cursor.go(begin);
    if (cursor.eat_word(ending) && !cursor.at_word()) return;
  }
  cursor.go(begin);
}

}  // namespace

/// 2024-03-05, 3/5/2024, 3/5/24, 5.3.2024, 5-3-2024: one separator throughout, day and month possible.
std::optional<IdentifierMatch> match_numeric_date(std::string_view text, std::size_t at) {
  IdentifierCursor cursor(text, at);
  const int first = cursor.eat_number(1, 4);
  const std::size_t first_digits = cursor.at() - at;
  const char separator = cursor.peek();
  if (first < 0 || (separator != '-' && separator != '/' && separator != '.')) return {};
  cursor.eat(separator);
  const int second = cursor.eat_number(1, 2);
  if (second < 0 || !cursor.eat(separator)) return {};
  const std::size_t begin_third = cursor.at();
  const int third = cursor.eat_number(1, 4);
  const std::size_t third_digits = cursor.at() - begin_third;
  if (third < 0) return {};
  const bool time_follows = cursor.peek() == 'T' && is_digit(cursor.peek(1));
  if (!time_follows && !cursor.number_ends()) return {};
  if (first_digits == 4 && third_digits <= 2)
    return is_year(first) && is_month(second) && is_day(third) ? date(at, cursor.at()) : kNone;
  // Of two digits a year is one only after slashes: 5.10.20 is a section, 1-2-03 a range.
  const bool has_year = (third_digits == 4 && is_year(third)) || (third_digits == 2 && separator == '/');
  const bool possible = (is_month(first) && is_day(second)) || (is_day(first) && is_month(second));
  return first_digits <= 2 && has_year && possible ? date(at, cursor.at()) : kNone;
}

/// 5 March 2024, 5th of March, 05-Mar-2024.
std::optional<IdentifierMatch> match_day_month(std::string_view text, std::size_t at) {
  IdentifierCursor cursor(text, at);
  if (!is_day(cursor.eat_number(1, 2))) return {};
  eat_ordinal(cursor);
  if (!cursor.eat_blanks() && !cursor.eat_dash()) return {};
  const std::size_t before_of = cursor.at();
  if (!cursor.eat_word("of") || !cursor.eat_blanks()) cursor.go(before_of);
  if (!eat_month(cursor)) return {};
  eat_year_behind(cursor);
  return date(at, cursor.at());
}

/// March 5, March 5th, 2024, March 2024.
std::optional<IdentifierMatch> match_month(std::string_view text, std::size_t at) {
  IdentifierCursor cursor(text, at);
  if (!eat_month(cursor)) return {};
  if (eat_year_behind(cursor)) return date(at, cursor.at());
  if (!cursor.eat_blanks() || !is_day(cursor.eat_number(1, 2))) return {};
  eat_ordinal(cursor);
  if (eat_year_behind(cursor)) return date(at, cursor.at());
  const bool percent = cursor.peek() == '%';
  return cursor.number_ends() && !percent ? date(at, cursor.at()) : kNone;
}

}  // namespace osler::text
