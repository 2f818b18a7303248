// A file read by position: bytes, and hyper-rectangles of a row-major array that lies in it. pread rather than mmap, so
// that a file cut short under our feet is an error with a name and not a SIGBUS. Local; const functions are
// thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace osler::store {

/// A hyper-rectangle [offset, offset + extent) of an array of `shape`.
struct Region {
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> offset;
  std::vector<std::int64_t> extent;
};

class RegionFile {
 public:
  explicit RegionFile(const std::string& path);  ///< throws StorageError naming the file and the reason
  ~RegionFile();
  RegionFile(RegionFile&& other) noexcept;
  RegionFile& operator=(RegionFile&& other) noexcept;
  RegionFile(const RegionFile&) = delete;

  const std::string& path() const { return path_; }
  std::uint64_t size() const { return size_; }  ///< bytes, when it was opened
  /// out.size() bytes from `at`. Throws DataError when the file ends before, StorageError when it cannot be read.
  void read(std::uint64_t at, std::span<std::byte> out) const;
  /// A region of the row-major array that starts at byte `base`, packed into `out`. Throws InternalError when the
  /// region leaves the array or `out` has another size.
  void read_region(std::uint64_t base, std::size_t element_bytes, const Region& region, std::span<std::byte> out) const;

 private:
  std::string path_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
};

}  // namespace osler::store
