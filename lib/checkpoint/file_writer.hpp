// A new file written front to back, summed on the way, durable when finished: for files too large to hold in memory.
// Local.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/sha256.hpp"

namespace osler::checkpoint {

class FileWriter {
 public:
  explicit FileWriter(const std::string& path);  ///< StorageError when it cannot be created
  ~FileWriter();                                 ///< removes the file unless finish() succeeded
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  void write(std::span<const std::byte> bytes);
  std::uint64_t num_bytes() const { return num_bytes_; }
  /// fsync, close, size on disk checked. Returns the SHA-256. All of these throw StorageError naming the file.
  std::string finish();

 private:
  [[noreturn]] void fail(const char* what) const;

  std::string path_;
  int descriptor_ = -1;
  std::uint64_t num_bytes_ = 0;
  Sha256 sum_;
  bool finished_ = false;
};

}  // namespace osler::checkpoint
