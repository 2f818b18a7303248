// Bytes of a file, plain, gzip (.gz, several members) or Zstandard (.zst, several frames), read as a stream in constant
// memory. Local.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>

namespace osler::text {

/// The archive is damaged: truncated, wrong sum, or not of the kind that its name says. The message names no path.
class CorruptArchive : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class ByteStream {
 public:
  virtual ~ByteStream() = default;
  /// Up to `capacity` bytes into `out`; 0 at the end. Throws CorruptArchive or StorageError.
  virtual std::size_t read(char* out, std::size_t capacity) = 0;
};

/// Whether the name says that the file is compressed: such a file cannot be entered in the middle.
bool is_compressed(const std::string& path);

/// Opens by name. `begin` is where to start in a plain file (0 for archives). Throws StorageError naming the file.
std::unique_ptr<ByteStream> open_byte_stream(const std::string& path, std::uint64_t begin = 0);

}  // namespace osler::text
