#include "text/identifier_patterns.hpp"

#include <algorithm>
#include <array>

#include "text/identifier_cursor.hpp"

namespace osler::text {
namespace {

using Match = std::optional<IdentifierMatch>;

Match matched(Identifier kind, std::size_t begin, std::size_t end) {
  return IdentifierMatch{kind, begin, end};
}

/// ddd-dd-dddd with an area, group and serial that were ever given out.
Match match_social_security(std::string_view text, std::size_t at) {
  IdentifierCursor cursor(text, at);
  const auto three = cursor.eat_number(3, 3);
  if (three <= 0 || three == 666 || three >= 900 || !cursor.eat_dash()) return {};
  if (cursor.eat_number(2, 2) <= 0 || !cursor.eat_dash()) return {};
  if (cursor.eat_number(4, 4) <= 0 || !cursor.number_ends()) return {};
  return matched(Identifier::id, at, cursor.at());
}

bool eat_phone_separator(IdentifierCursor& cursor) {
  return cursor.eat('.') || cursor.eat_dash() || cursor.eat_blank();
}

/// North American: three, three and four digits, area and exchange from 2, with or without +1.
Match match_north_american(std::string_view text, std::size_t at) {
  IdentifierCursor cursor(text, at);
  const bool plus = cursor.eat('+');
  if (cursor.peek() == '1' && !is_digit(cursor.peek(1))) {
    cursor.eat('1');
    if (!eat_phone_separator(cursor)) return {};
  } else if (plus) {
    return {};
  }
  const bool bracket = cursor.eat('(');
  if (cursor.peek() < '2' || cursor.eat_number(3, 3) < 0) return {};
  if (bracket && !cursor.eat(')')) return {};
  if (!eat_phone_separator(cursor) && !bracket) return {};
  if (cursor.peek() < '2' || cursor.eat_number(3, 3) < 0 || !eat_phone_separator(cursor)) return {};
  if (cursor.eat_number(4, 4) < 0 || !cursor.number_ends()) return {};
  return matched(Identifier::phone, at, cursor.at());
}

/// Groups of digits with one separator or bracket between them; how many digits there were.
int eat_groups(IdentifierCursor& cursor) {
  int digits = 0;
  std::size_t end = cursor.at();
  while (digits <= 15) {
    const bool bracket = cursor.eat('(');
    const int more = cursor.eat_digits(16);
    if (more == 0) break;
    if (bracket) cursor.eat(')');
    digits += more;
    end = cursor.at();
    if (!eat_phone_separator(cursor) && cursor.peek() != '(') break;
    if (cursor.peek() != '(' && !is_digit(cursor.peek())) break;
  }
  cursor.go(end);
  return digits;
}

/// +44 20 7946 0958
Match match_international(std::string_view text, std::size_t at) {
  IdentifierCursor cursor(text, at);
  if (!cursor.eat('+') || cursor.peek() < '1' || !is_digit(cursor.peek())) return {};
  const int digits = eat_groups(cursor);
  return digits >= 8 && digits <= 15 && !cursor.at_word() ? matched(Identifier::phone, at, cursor.at()) : Match{};
}

/// Up to six of what stands between an announcement and its number.
void eat_announcement_end(IdentifierCursor& cursor) {
  for (int i = 0; i < 6; ++i) {
    if (cursor.eat_blank() || cursor.eat(':') || cursor.eat('#') || cursor.eat('.') || cursor.eat('=')) continue;
    const std::size_t begin = cursor.at();
    bool ate = false;
    for (const std::string_view word : {"number", "no", "num", "id", "is"}) {
      cursor.go(begin);
      if (cursor.eat_word(word) && !cursor.at_word()) {
        ate = true;
        break;
      }
    }
    if (ate) continue;
    cursor.go(begin);
    return;
  }
}

/// 4 to 20 letters, digits and hyphens with at least four digits in them; of digits alone also in groups.
Match match_record_number(std::string_view text, std::size_t at) {
  IdentifierCursor cursor(text, at);
  int digits = 0;
  int all = 0;
  bool plain = true;
  while (all <= 20) {
    const char c = cursor.peek();
    if (plain && c == ' ' && is_digit(cursor.peek(1)) && digits > 0) {
      cursor.eat(c);
      continue;
    }
    if (!is_digit(c) && !is_letter(c) &&
        !(c == '-' && all > 0 && (is_digit(cursor.peek(1)) || is_letter(cursor.peek(1)))))
      break;
    digits += is_digit(c) ? 1 : 0;
    plain = plain && is_digit(c);
    ++all;
    cursor.eat(c);
  }
  return digits >= 4 && all <= 20 && !cursor.at_word() ? matched(Identifier::record, at, cursor.at()) : Match{};
}

bool eat_announcement(IdentifierCursor& cursor, std::string_view words) {
  const std::size_t begin = cursor.at();
  if (cursor.eat_word(words) && !cursor.at_word()) return true;
  cursor.go(begin);
  return false;
}

/// A word that says what the number behind it is.
Match match_announced(std::string_view text, std::size_t at) {
  constexpr std::array<std::string_view, 15> kRecords{
      "mrn",          "medical record number", "medical record no", "medical record",   "record number",
      "record no",    "hospital number",       "patient number",    "patient id",       "patient no",
      "chart number", "account number",        "accession number",  "encounter number", "nhs number"};
  constexpr std::array<std::string_view, 8> kPhones{"phone",     "telephone", "tel",   "fax",
                                                    "cellphone", "mobile",    "pager", "call"};
  for (const std::string_view words : kRecords) {
    IdentifierCursor cursor(text, at);
    if (!eat_announcement(cursor, words)) continue;
    eat_announcement_end(cursor);
    if (const Match match = match_record_number(text, cursor.at())) return match;
  }
  for (const std::string_view words : {"ssn", "social security number"}) {
    IdentifierCursor cursor(text, at);
    if (!eat_announcement(cursor, words)) continue;
    eat_announcement_end(cursor);
    const std::size_t begin = cursor.at();
    if (eat_groups(cursor) == 9 && !cursor.at_word()) return matched(Identifier::id, begin, cursor.at());
  }
  for (const std::string_view words : kPhones) {
    IdentifierCursor cursor(text, at);
    if (!eat_announcement(cursor, words)) continue;
    eat_announcement_end(cursor);
    const std::size_t begin = cursor.at();
    cursor.eat('+');
    const int digits = eat_groups(cursor);
    if (digits >= 7 && digits <= 15 && cursor.number_ends()) return matched(Identifier::phone, begin, cursor.at());
  }
  return {};
}

/// In capitals only with a point: MR and MS are also an image, a valve and a disease.
bool eat_title(IdentifierCursor& cursor) {
  constexpr std::array<std::string_view, 8> kTitles{"Dr", "Mr", "Mrs", "Ms", "Miss", "Prof", "Professor", "Doctor"};
  constexpr std::array<std::string_view, 5> kCapitals{"DR.", "MR.", "MRS.", "MS.", "PROF."};
  const std::size_t begin = cursor.at();
  for (const std::string_view title : kTitles) {
    cursor.go(begin);
    if (!cursor.eat_exactly(title) || cursor.at_word()) continue;
    cursor.eat('.');
    return true;
  }
  for (const std::string_view title : kCapitals) {
    cursor.go(begin);
    if (cursor.eat_exactly(title)) return true;
  }
  return false;
}

/// One part of a name: capital first, then letters, marks, apostrophes and hyphens; or an initial with its point.
bool eat_name_part(IdentifierCursor& cursor) {
  constexpr int kMostLetters = 40;
  // They begin a sentence after "the Dr." or follow a title that is a form's label.
  constexpr std::array<std::string_view, 24> kNoNames{"He",   "She", "The", "I",    "It",  "They", "His", "Her",
                                                      "This", "A",   "An",  "In",   "On",  "At",   "We",  "You",
                                                      "And",  "But", "If",  "When", "Who", "What", "Was", "Is"};
  const std::size_t begin = cursor.at();
  if (!u_isupper(cursor.point_here())) return false;
  int letters = 0;
  while (letters < kMostLetters) {
    const UChar32 point = cursor.point_here();
    const bool joins = letters > 0 && (point == '\'' || point == 0x2019 || point == '-');
    if (!u_isalpha(point) && (U_GET_GC_MASK(point) & U_GC_M_MASK) == 0 && !joins) break;
    cursor.skip_point();
    ++letters;
  }
  const std::string_view part = cursor.since(begin);
  if (std::find(kNoNames.begin(), kNoNames.end(), part) != kNoNames.end() && !(letters == 1 && cursor.peek() == '.')) {
    cursor.go(begin);
    return false;
  }
  if (letters == 1) cursor.eat('.');
  return true;
}

bool eat_particle(IdentifierCursor& cursor) {
  const std::size_t begin = cursor.at();
  for (const std::string_view particle :
       {"van", "von", "der", "den", "de", "del", "della", "di", "da", "la", "le", "al", "bin", "ter"}) {
    cursor.go(begin);
    if (cursor.eat_exactly(particle) && cursor.eat_blanks()) return true;
  }
  cursor.go(begin);
  return false;
}

Match match_name(std::string_view text, std::size_t at) {
  constexpr int kMostParts = 3;
  IdentifierCursor cursor(text, at);
  if (!eat_title(cursor)) return {};
  cursor.eat_blanks();
  const std::size_t begin = cursor.at();
  std::size_t end = begin;
  for (int part = 0; part < kMostParts; ++part) {
    for (int particle = 0; particle < 2 && eat_particle(cursor);) ++particle;
    if (!eat_name_part(cursor)) break;
    end = cursor.at();
    if (!cursor.eat_blanks()) break;
  }
  return end > begin ? matched(Identifier::name, begin, end) : Match{};
}

}  // namespace

Match match_number(std::string_view text, std::size_t at) {
  if (is_digit(text[at])) {
    if (Match match = match_social_security(text, at)) return match;
    if (Match match = match_numeric_date(text, at)) return match;
    if (Match match = match_day_month(text, at)) return match;
  }
  if (Match match = match_north_american(text, at)) return match;
  return match_international(text, at);
}

Match match_word(std::string_view text, std::size_t at) {
  switch (text[at]) {
    case 'J':
    case 'F':
    case 'A':
    case 'O':
    case 'N':
      if (Match match = match_month(text, at)) return match;
      break;
    case 'M':
    case 'D':
    case 'P':
    case 'S':
      if (Match match = match_month(text, at)) return match;
      if (Match match = match_name(text, at)) return match;
      break;
    default:
      break;
  }
  switch (lower(text[at])) {
    case 'm':
    case 'r':
    case 'h':
    case 'p':
    case 'c':
    case 'a':
    case 'e':
    case 'n':
    case 's':
    case 't':
    case 'f':
      return match_announced(text, at);
    default:
      return {};
  }
}

Match match_email(std::string_view text, std::size_t at, std::size_t least) {
  constexpr std::size_t kMostLocal = 64;  // RFC 5321
  constexpr std::size_t kMostDomain = 255;
  const auto is_local = [](char c) {
    return is_digit(c) || is_letter(c) || c == '.' || c == '_' || c == '%' || c == '+' || c == '-';
  };
  std::size_t begin = at;
  while (begin > least && at - begin < kMostLocal && is_local(text[begin - 1])) --begin;
  while (begin < at && text[begin] == '.') ++begin;
  if (begin == at) return {};
  std::size_t end = at + 1;
  std::size_t last_point = 0;
  while (end < text.size() && end - at <= kMostDomain) {
    const char c = text[end];
    if (c == '.' && end + 1 < text.size() && (is_digit(text[end + 1]) || is_letter(text[end + 1])) && end > at + 1)
      last_point = end;
    else if (!is_digit(c) && !is_letter(c) && c != '-')
      break;
    ++end;
  }
  if (last_point == 0 || end - last_point < 3 || !is_letter(text[last_point + 1])) return {};
  return matched(Identifier::email, begin, end);
}

}  // namespace osler::text
