// A file mapped for reading. Local.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace osler::data {

class MappedFile {
 public:
  explicit MappedFile(const std::string& path);  ///< throws StorageError naming the file
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  const std::byte* data() const { return data_; }
  std::uint64_t size() const { return size_; }

 private:
  const std::byte* data_ = nullptr;
  std::uint64_t size_ = 0;
};

}  // namespace osler::data
