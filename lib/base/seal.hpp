// A last line that holds the SHA-256 of every byte before it. Formats that end where they say they end (HDF5) do not
// mind it; a reader can check a whole file before a library opens it. Local.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace osler {

/// "osler-sha256 ", 64 hex digits, newline.
inline constexpr std::uint64_t kSealBytes = 78;
std::string seal_of(const std::string& sha256_hex);

enum class Seal { absent, right, wrong };
/// Whether the last line looks like one, not whether it is right.
bool ends_with_seal(std::span<const std::byte> file);
/// Reads the whole file. Throws StorageError naming it.
Seal check_seal(const std::string& path);

}  // namespace osler
