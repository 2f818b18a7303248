#include "text/sentencepiece_model.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/error.hpp"

namespace osler::text {
namespace {

/// Walks the fields of one protobuf message.
class FieldWalker {
 public:
  explicit FieldWalker(std::string_view bytes) : bytes_(bytes) {}

  /// False at the end or at the first malformed field; malformed() tells them apart.
  bool next() {
    if (at_ >= bytes_.size()) return false;
    const std::optional<std::uint64_t> tag = varint();
    if (!tag || *tag >> 3 == 0) return fail();
    field = *tag >> 3;
    number = 0;
    content = {};
    switch (*tag & 7) {
      case 0: {
        const std::optional<std::uint64_t> value = varint();
        if (!value) return fail();
        number = *value;
        return true;
      }
      case 1:
        return skip(8);
      case 2: {
        const std::optional<std::uint64_t> length = varint();
        return length ? skip(*length) : fail();
      }
      case 5:
        return skip(4);
      default:
        return fail();
    }
  }
  bool malformed() const { return malformed_; }

  std::uint64_t field = 0;
  std::uint64_t number = 0;
  std::string_view content;

 private:
  bool fail() {
    malformed_ = true;
    return false;
  }
  bool skip(std::uint64_t length) {
    if (length > bytes_.size() - at_) return fail();
    content = bytes_.substr(at_, length);
    at_ += length;
    return true;
  }
  std::optional<std::uint64_t> varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64 && at_ < bytes_.size(); shift += 7) {
      const auto byte = static_cast<unsigned char>(bytes_[at_++]);
      value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    return std::nullopt;
  }

  std::string_view bytes_;
  std::size_t at_ = 0;
  bool malformed_ = false;
};

bool read_trainer_spec(std::string_view bytes, SentencePieceTraits& traits) {
  constexpr std::uint64_t kBpe = 2;
  FieldWalker walker(bytes);
  while (walker.next()) {
    if (walker.field == 3) traits.is_bpe = walker.number == kBpe;
    if (walker.field == 24) traits.whitespace_as_suffix = walker.number != 0;
    if (walker.field == 35) traits.byte_fallback = walker.number != 0;
  }
  return !walker.malformed();
}

bool read_normalizer_spec(std::string_view bytes, SentencePieceTraits& traits) {
  FieldWalker walker(bytes);
  while (walker.next()) {
    if (walker.field == 2) traits.has_character_map = !walker.content.empty();
    if (walker.field == 3) traits.add_dummy_prefix = walker.number != 0;
    if (walker.field == 4) traits.remove_extra_whitespaces = walker.number != 0;
    if (walker.field == 5) traits.escape_whitespaces = walker.number != 0;
  }
  return !walker.malformed();
}

}  // namespace

SentencePieceTraits read_traits(std::string_view model, const std::string& origin) {
  SentencePieceTraits traits;
  FieldWalker walker(model);
  bool well_formed = true;
  while (well_formed && walker.next()) {
    if (walker.field == 1) traits.has_pieces = true;
    if (walker.field == 2) well_formed = read_trainer_spec(walker.content, traits);
    if (walker.field == 3) well_formed = read_normalizer_spec(walker.content, traits);
  }
  if (!well_formed || walker.malformed() || !traits.has_pieces) {
    throw DataError(
        origin, " is not a SentencePiece model, or is damaged; give the tokenizer.model that came with the weights");
  }
  return traits;
}

std::string without_dummy_prefix(std::string_view model) {
  // normalizer_spec (field 3, two bytes) { add_dummy_prefix (field 3) = 0 }
  return std::string(model) + std::string("\x1A\x02\x18\x00", 4);
}

}  // namespace osler::text
