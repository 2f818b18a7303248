// What identifiers look like, one function for what they begin with. Each looks at no more than some hundred bytes.
// Local to the scan for identifiers.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

#include "text/identifiers.hpp"

namespace osler::text {

/// At a digit, '+' or '(' that begins a word: a social-security number, a date or a telephone number.
std::optional<IdentifierMatch> match_number(std::string_view text, std::size_t at);
/// At an ASCII letter that begins a word: a date that begins with its month, a title and a name, a word that announces
/// a record or telephone number.
std::optional<IdentifierMatch> match_word(std::string_view text, std::size_t at);
/// Dates that begin with a number, with a day and the name of a month, with the name of a month.
std::optional<IdentifierMatch> match_numeric_date(std::string_view text, std::size_t at);
std::optional<IdentifierMatch> match_day_month(std::string_view text, std::size_t at);
std::optional<IdentifierMatch> match_month(std::string_view text, std::size_t at);
/// At '@'; the address may reach back to `least`.
std::optional<IdentifierMatch> match_email(std::string_view text, std::size_t at, std::size_t least);

}  // namespace osler::text
