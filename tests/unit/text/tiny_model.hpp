// A SentencePiece model made by hand: BPE with byte fallback, like Mistral's but with few merges.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace osler::tests {

inline std::string varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>((value & 0x7F) | 0x80);
  return bytes += static_cast<char>(value);
}
inline std::string number_field(std::uint64_t field, std::uint64_t value) {
  return varint(field << 3) + varint(value);
}
inline std::string bytes_field(std::uint64_t field, const std::string& bytes) {
  return varint(field << 3 | 2) + varint(bytes.size()) + bytes;
}

/// type: 1 normal, 2 unknown, 3 control, 6 byte
inline std::string piece(const std::string& text, float score, std::uint64_t type) {
  std::string bytes(4, '\0');
  std::memcpy(bytes.data(), &score, 4);
  return bytes_field(1, bytes_field(1, text) + varint(2 << 3 | 5) + bytes + number_field(3, type));
}

/// `merges` come in order of preference; every single character that they are built of is a piece as well.
inline std::string tiny_model(const std::vector<std::string>& merges, bool add_dummy_prefix = true) {
  std::string model = piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("</s>", 0, 3);
  for (int byte = 0; byte < 256; ++byte) {
    const char* digits = "0123456789ABCDEF";
    model += piece(std::string("<0x") + digits[byte / 16] + digits[byte % 16] + ">", 0, 6);
  }
  float score = 0;
  for (const std::string& merge : merges) model += piece(merge, --score, 1);
  for (const char* character : {"\xE2\x96\x81", "a", "b", "c", "d", "e", "\xC3\xA9", "\n"})
    model += piece(character, --score, 1);
  const std::string trainer =
      number_field(3, 2) + number_field(35, 1) + number_field(40, 0) + number_field(41, 1) + number_field(42, 2);
  const std::string normalizer =
      bytes_field(1, "identity") + number_field(3, add_dummy_prefix ? 1 : 0) + number_field(4, 0) + number_field(5, 1);
  return model + bytes_field(2, trainer) + bytes_field(3, normalizer);
}

}  // namespace osler::tests
