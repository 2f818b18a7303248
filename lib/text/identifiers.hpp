// Likely identifiers of people in text: a count and a help against the careless leak, no de-identification. What it
// looks for and what it misses stands in docs/formats.md. One pass, every attempt bounded, no backtracking. Local.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace osler::text {

enum class Identifier { date, phone, record, email, id, name };
inline constexpr std::size_t kNumIdentifiers = 6;
const char* name_of(Identifier kind);  ///< "date"

using IdentifierCounts = std::array<std::int64_t, kNumIdentifiers>;

struct IdentifierMatch {
  Identifier kind = Identifier::date;
  std::size_t begin = 0;  ///< bytes, ends between characters
  std::size_t end = 0;
  bool operator==(const IdentifierMatch&) const = default;
};

/// In order, without overlap. `text` is well-formed UTF-8.
std::vector<IdentifierMatch> find_identifiers(std::string_view text);
/// Each match replaced by [DATE], [PHONE], [RECORD], [EMAIL], [ID] or [NAME].
std::string mask_identifiers(std::string_view text, const std::vector<IdentifierMatch>& matches);

}  // namespace osler::text
