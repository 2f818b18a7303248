// Lines of a byte stream with a bound on memory. Local.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "text/byte_stream.hpp"

namespace osler::text {

class LineReader {
 public:
  enum class Status { line, too_long, end };

  LineReader(std::unique_ptr<ByteStream> stream, std::size_t max_line_bytes);
  /// The next line without its newline. A line above the bound is skipped and only told of (`line` is then empty).
  /// CorruptArchive: what came after the last whole line is lost. Throws CorruptArchive or StorageError.
  Status next(std::string& line);
  /// Where the next line starts, from the first byte of the stream.
  std::uint64_t offset() const { return offset_; }

 private:
  bool refill();

  std::unique_ptr<ByteStream> stream_;
  std::size_t max_line_bytes_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::uint64_t offset_ = 0;
};

}  // namespace osler::text
