// The few facts of a SentencePiece model file that its library does not tell, read from the serialised form. Local.
// Source: sentencepiece_model.proto of google/sentencepiece (field numbers).
#pragma once

#include <string>
#include <string_view>

namespace osler::text {

struct SentencePieceTraits {
  bool is_bpe = false;
  bool byte_fallback = false;
  bool whitespace_as_suffix = false;
  bool has_character_map = false;  ///< normalises text before it is cut
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
  bool has_pieces = false;
};

/// Throws DataError(`origin`) when the bytes are not a well-formed model.
SentencePieceTraits read_traits(std::string_view model, const std::string& origin);

/// The same model without the space that the library puts before a text: a later field overrides an earlier one.
std::string without_dummy_prefix(std::string_view model);

}  // namespace osler::text
