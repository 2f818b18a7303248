#include "text/identifiers.hpp"

#include <algorithm>
#include <optional>

#include "base/error.hpp"
#include "text/identifier_cursor.hpp"
#include "text/identifier_patterns.hpp"

namespace osler::text {

const char* name_of(Identifier kind) {
  switch (kind) {
    case Identifier::date:
      return "date";
    case Identifier::phone:
      return "phone";
    case Identifier::record:
      return "record";
    case Identifier::email:
      return "email";
    case Identifier::id:
      return "id";
    case Identifier::name:
      return "name";
  }
  throw InternalError("unknown kind of identifier");
}

std::vector<IdentifierMatch> find_identifiers(std::string_view text) {
  std::vector<IdentifierMatch> matches;
  std::size_t done = 0;  // end of the last match: an e-mail address may not reach back over it
  for (std::size_t at = 0; at < text.size();) {
    const char c = text[at];
    std::optional<IdentifierMatch> match;
    if (c == '@') {
      match = match_email(text, at, done);
    } else if (is_digit(c) || c == '+' || c == '(') {
      if (!is_word_before(text, at)) match = match_number(text, at);
    } else if (is_letter(c)) {
      if (!is_word_before(text, at)) match = match_word(text, at);
    }
    if (match) {
      matches.push_back(*match);
      at = done = match->end;
      continue;
    }
    ++at;
    if (is_digit(c) || is_letter(c))  // the rest of a word begins nothing
      while (at < text.size() && (is_digit(text[at]) || is_letter(text[at]))) ++at;
  }
  return matches;
}

std::string mask_identifiers(std::string_view text, const std::vector<IdentifierMatch>& matches) {
  std::string masked;
  std::size_t copied = 0;
  for (const IdentifierMatch& match : matches) {
    masked += text.substr(copied, match.begin - copied);
    masked += '[';
    for (const char* letter = name_of(match.kind); *letter != '\0'; ++letter)
      masked += static_cast<char>(*letter - 'a' + 'A');
    masked += ']';
    copied = match.end;
  }
  return masked.append(text.substr(copied));
}

}  // namespace osler::text
