// The words of a text without case, accents' encodings, punctuation and layout, as 128-bit hashes, for comparing texts
// that were formatted differently. Local.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace osler::text {

/// Two hashes with different multipliers: equal words are taken for equal hashes.
using WordHash = std::array<std::uint64_t, 2>;

/// Words are runs of letters, digits and marks after ICU's NFKC_Casefold (compatibility forms, case folding, ignorable
/// characters dropped). Everything else separates words, so that "mg/dL" and "mg / dL" are equal; an apostrophe is
/// dropped inside a word ("patient's" and the typographic form are both "patients"). An ideograph is a word of its own.
class WordReader {
 public:
  /// `text` is well-formed UTF-8 and outlives the reader.
  explicit WordReader(std::string_view text) : text_(text) {}
  /// False at the end.
  bool next(WordHash& word);

 private:
  bool next_chunk();
  bool next_in_ascii(WordHash& word);
  bool next_in_normalized(WordHash& word);

  std::string_view text_;
  std::size_t offset_ = 0;    // in text_, of what no chunk has held yet
  std::string_view chunk_;    // no white space in it; ASCII, or a view of normalized_
  std::size_t in_chunk_ = 0;  // offset
  bool chunk_is_ascii_ = true;
  std::string normalized_;
};

}  // namespace osler::text
