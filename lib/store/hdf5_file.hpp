// HDF5 containers, read and written with care: reading opens only plain contiguous data of our own making (no external
// links, filters or plugins); writing builds the whole file as an image in memory, so that libhdf5 never meets a full
// disk (docs/formats.md). No schema of ours here. Local.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/dtype.hpp"

namespace osler::store {

using Attribute = std::variant<std::int64_t, double, std::string, std::vector<std::int64_t>>;
using Attributes = std::map<std::string, Attribute>;

/// One source of a virtual dataset: `dataset` of `file` (relative to the folder of the virtual file) is the
/// hyper-rectangle [offset, offset + extent) of the whole.
struct VirtualPiece {
  std::string file;
  std::string dataset;
  std::vector<std::int64_t> offset;
  std::vector<std::int64_t> extent;
};

/// Builds a file image: declare everything, seal, fill the datasets' bytes in place, then write the bytes yourself.
/// Equal declarations give equal bytes (no times inside). Pages of datasets not yet filled take no memory, so an image
/// may be filled, written and released dataset by dataset, in the order of placements().
class Image {
 public:
  Image();
  ~Image();
  Image(Image&&) noexcept;
  Image& operator=(Image&&) noexcept;
  /// Contiguous dataset; missing groups on the way are made. Names as HDF5 paths without leading slash.
  void declare(const std::string& name, DType dtype, const std::vector<std::int64_t>& shape,
               const Attributes& attributes = {});
  void declare_text(const std::string& name, const std::string& text);               ///< scalar string dataset
  void set_attributes(const std::string& group_name, const Attributes& attributes);  ///< "" = the file's root
  /// A dataset that shows pieces in other files as one (HDF5 virtual dataset); holds no bytes itself.
  void declare_virtual(const std::string& name, DType dtype, const std::vector<std::int64_t>& shape,
                       const std::vector<VirtualPiece>& pieces);
  void seal();                                             ///< fixes the layout; throws InternalError if called twice
  std::span<std::byte> bytes_of(const std::string& name);  ///< where to put a dataset's elements (row-major)
  std::span<const std::byte> bytes() const;                ///< the whole file
  /// Where each numeric dataset lies in the file, by rising offset. After seal().
  struct Placement {
    std::string name;
    std::uint64_t offset = 0;
    std::uint64_t num_bytes = 0;
  };
  const std::vector<Placement>& placements() const;
  /// Gives the memory of [begin, end) back; those bytes read as zero afterwards.
  void release(std::uint64_t begin, std::uint64_t end);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

struct DatasetInfo {
  std::string name;
  DType dtype = DType::fp32;
  std::vector<std::int64_t> shape;
  std::uint64_t file_offset = 0;  ///< of its bytes, for mmap or pread
  std::uint64_t num_bytes = 0;
  Attributes attributes;
};

/// A file opened for reading. Throws DataError naming the file and what is wrong with it, StorageError when unreadable.
class ReadFile {
 public:
  explicit ReadFile(const std::string& path);
  ~ReadFile();
  ReadFile(ReadFile&&) noexcept;
  const std::string& path() const;
  const std::vector<DatasetInfo>& datasets() const;           ///< numeric datasets, sorted by name
  const DatasetInfo& dataset(const std::string& name) const;  ///< DataError when absent
  bool contains(const std::string& name) const;
  std::string read_text(const std::string& name) const;
  const Attributes& attributes() const;  ///< of the root
  /// The hyper-rectangle [offset, offset + extent) of a dataset, row-major, into `out`.
  void read(const std::string& name, const std::vector<std::int64_t>& offset, const std::vector<std::int64_t>& extent,
            std::span<std::byte> out) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace osler::store
