#include "text/word_reader.hpp"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/utf8.h>

#include "base/error.hpp"

namespace osler::text {
namespace {

constexpr unsigned char kSeparator = 0;
constexpr unsigned char kDropped = 1;

/// ASCII to what a word holds of it.
constexpr std::array<unsigned char, 128> kFolded = [] {
  std::array<unsigned char, 128> folded{};
  for (unsigned char c = '0'; c <= '9'; ++c) folded[c] = c;
  for (unsigned char c = 'a'; c <= 'z'; ++c) folded[c] = c;
  for (unsigned char c = 'A'; c <= 'Z'; ++c) folded[c] = static_cast<unsigned char>(c - 'A' + 'a');
  folded['\''] = kDropped;
  return folded;
}();

/// FNV-1a with its own prime and with an odd constant of high weight, each finished by MurmurHash3's mixer.
class Hasher {
 public:
  void add(unsigned char byte) {
    a_ = (a_ ^ byte) * 0x00000100000001B3ULL;
    b_ = (b_ ^ byte) * 0x9E3779B97F4A7C15ULL;
  }
  WordHash finish() const { return {mixed(a_), mixed(b_)}; }

 private:
  static std::uint64_t mixed(std::uint64_t value) {
    value = (value ^ (value >> 33)) * 0xFF51AFD7ED558CCDULL;
    value = (value ^ (value >> 33)) * 0xC4CEB9FE1A85EC53ULL;
    return value ^ (value >> 33);
  }
  std::uint64_t a_ = 0xCBF29CE484222325ULL;
  std::uint64_t b_ = 0x6C62272E07BB0142ULL;
};

bool is_apostrophe(UChar32 point) {
  return point == 0x27 || point == 0x2019 || point == 0x2018 || point == 0x02BC;
}

bool is_in_word(UChar32 point) {
  constexpr std::uint32_t kMask = U_GC_L_MASK | U_GC_M_MASK | U_GC_N_MASK;
  return (U_GET_GC_MASK(point) & kMask) != 0;
}

void normalize(std::string_view text, std::string& normalized) {
  UErrorCode failure = U_ZERO_ERROR;
  static const icu::Normalizer2* const normalizer = icu::Normalizer2::getNFKCCasefoldInstance(failure);
  normalized.clear();
  icu::StringByteSink<std::string> sink(&normalized);
  if (U_SUCCESS(failure))
    normalizer->normalizeUTF8(0, icu::StringPiece(text.data(), static_cast<std::int32_t>(text.size())), sink, nullptr,
                              failure);
  if (U_FAILURE(failure)) throw InternalError("ICU cannot normalise text: ", u_errorName(failure));
}

}  // namespace

bool WordReader::next(WordHash& word) {
  do {
    if (chunk_is_ascii_ ? next_in_ascii(word) : next_in_normalized(word)) return true;
  } while (next_chunk());
  return false;
}

bool WordReader::next_chunk() {
  while (offset_ < text_.size() && static_cast<unsigned char>(text_[offset_]) <= 0x20) ++offset_;
  if (offset_ == text_.size()) return false;
  const std::size_t begin = offset_;
  chunk_is_ascii_ = true;
  for (; offset_ < text_.size(); ++offset_) {
    const auto byte = static_cast<unsigned char>(text_[offset_]);
    if (byte <= 0x20) break;
    if (byte >= 0x80) chunk_is_ascii_ = false;
  }
  chunk_ = text_.substr(begin, offset_ - begin);
  in_chunk_ = 0;
  if (!chunk_is_ascii_) {
    // Normalisation never reaches over white space.
    normalize(chunk_, normalized_);
    chunk_ = normalized_;
  }
  return true;
}

bool WordReader::next_in_ascii(WordHash& word) {
  Hasher hasher;
  bool any = false;
  for (; in_chunk_ < chunk_.size(); ++in_chunk_) {
    const unsigned char folded = kFolded[static_cast<unsigned char>(chunk_[in_chunk_])];
    if (folded == kDropped) continue;
    if (folded == kSeparator) {
      if (any) break;
      continue;
    }
    hasher.add(folded);
    any = true;
  }
  word = hasher.finish();
  return any;
}

bool WordReader::next_in_normalized(WordHash& word) {
  Hasher hasher;
  bool any = false;
  const auto size = static_cast<std::int64_t>(chunk_.size());
  auto offset = static_cast<std::int64_t>(in_chunk_);
  while (offset < size) {
    const std::int64_t begin = offset;
    UChar32 point = 0;
    U8_NEXT(chunk_.data(), offset, size, point);
    if (is_apostrophe(point)) continue;
    const bool alone = point > 0x7F && u_hasBinaryProperty(point, UCHAR_IDEOGRAPHIC);
    if (!is_in_word(point) || (alone && any)) {
      if (!any) continue;
      if (alone) offset = begin;
      break;
    }
    for (std::int64_t i = begin; i < offset; ++i)
      hasher.add(static_cast<unsigned char>(chunk_[static_cast<std::size_t>(i)]));
    any = true;
    if (alone) break;
  }
  in_chunk_ = static_cast<std::size_t>(offset);
  word = hasher.finish();
  return any;
}

}  // namespace osler::text
