#include "store/region_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.hpp"

namespace osler::store {
namespace {

// Runs shorter than this are read together with the gaps between them: one call per run would cost more than the bytes.
constexpr std::uint64_t kShortRunBytes = 16 * 1024;
constexpr std::uint64_t kScratchBytes = 4 * 1024 * 1024;

/// A region as `num_rows` runs of `run` contiguous bytes, `stride` bytes apart, repeated over the outer dims.
struct Runs {
  std::uint64_t run = 0;
  std::uint64_t num_rows = 1;
  std::uint64_t stride = 0;
  std::size_t num_outer_dims = 0;
};

Runs find_runs(const Region& region, std::size_t element_bytes) {
  Runs runs;
  std::size_t dim = region.shape.size();
  std::uint64_t inner_bytes = element_bytes;  // of one index of dim - 1
  while (dim > 0 && region.extent[dim - 1] == region.shape[dim - 1]) {
    inner_bytes *= static_cast<std::uint64_t>(region.shape[dim - 1]);
    --dim;
  }
  runs.run = inner_bytes;
  if (dim > 0) {
    --dim;
    runs.run *= static_cast<std::uint64_t>(region.extent[dim]);
    runs.stride = inner_bytes * static_cast<std::uint64_t>(region.shape[dim]);
  }
  if (dim > 0) {
    --dim;
    runs.num_rows = static_cast<std::uint64_t>(region.extent[dim]);
  }
  runs.num_outer_dims = dim;
  return runs;
}

std::uint64_t first_byte(const Region& region, const std::vector<std::int64_t>& outer, std::size_t element_bytes) {
  std::uint64_t element = 0;
  for (std::size_t dim = 0; dim < region.shape.size(); ++dim) {
    const std::int64_t index = region.offset[dim] + (dim < outer.size() ? outer[dim] : 0);
    element = element * static_cast<std::uint64_t>(region.shape[dim]) + static_cast<std::uint64_t>(index);
  }
  return element * element_bytes;
}

bool advance(std::vector<std::int64_t>& index, const std::vector<std::int64_t>& extent) {
  for (std::size_t dim = index.size(); dim-- > 0;) {
    if (++index[dim] < extent[dim]) return true;
    index[dim] = 0;
  }
  return false;
}

void read_rows(const RegionFile& file, std::uint64_t begin, const Runs& runs, std::byte* out) {
  if (runs.run >= kShortRunBytes || runs.num_rows == 1) {
    for (std::uint64_t row = 0; row < runs.num_rows; ++row)
      file.read(begin + row * runs.stride, {out + row * runs.run, runs.run});
    return;
  }
  const std::uint64_t rows_at_once = std::max<std::uint64_t>(1, kScratchBytes / runs.stride);
  std::vector<std::byte> scratch;
  for (std::uint64_t row = 0; row < runs.num_rows; row += rows_at_once) {
    const std::uint64_t count = std::min(rows_at_once, runs.num_rows - row);
    scratch.resize((count - 1) * runs.stride + runs.run);
    file.read(begin + row * runs.stride, scratch);
    for (std::uint64_t i = 0; i < count; ++i)
      std::memcpy(out + (row + i) * runs.run, scratch.data() + i * runs.stride, runs.run);
  }
}

}  // namespace

RegionFile::RegionFile(const std::string& path) : path_(path) {
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor_ < 0) throw StorageError("cannot open ", path, ": ", std::strerror(errno));
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(descriptor_);
    throw StorageError("cannot read ", path, ": not a regular file");
  }
  size_ = static_cast<std::uint64_t>(status.st_size);
}

RegionFile::~RegionFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

RegionFile::RegionFile(RegionFile&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)), size_(other.size_) {}

RegionFile& RegionFile::operator=(RegionFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(size_, other.size_);
  return *this;
}

void RegionFile::read(std::uint64_t at, std::span<std::byte> out) const {
  std::size_t done = 0;
  while (done < out.size()) {
    const ssize_t got = ::pread(descriptor_, out.data() + done, out.size() - done, static_cast<off_t>(at + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw StorageError("cannot read ", path_, " at byte ", at + done, ": ", std::strerror(errno));
    if (got == 0)
      throw DataError(path_, " ends at byte ", at + done, ", but ", out.size() - done,
                      " more bytes are needed: the file is truncated");
    done += static_cast<std::size_t>(got);
  }
}

void RegionFile::read_region(std::uint64_t base, std::size_t element_bytes, const Region& region,
                             std::span<std::byte> out) const {
  const std::size_t rank = region.shape.size();
  OSLER_CHECK(region.offset.size() == rank && region.extent.size() == rank, path_);
  std::uint64_t wanted = element_bytes;
  for (std::size_t dim = 0; dim < rank; ++dim) {
    OSLER_CHECK(region.offset[dim] >= 0 && region.extent[dim] >= 0 &&
                    region.extent[dim] <= region.shape[dim] - region.offset[dim],
                path_);
    wanted *= static_cast<std::uint64_t>(region.extent[dim]);
  }
  OSLER_CHECK(wanted == out.size(), path_);
  if (wanted == 0) return;
  const Runs runs = find_runs(region, element_bytes);
  std::vector<std::int64_t> outer(runs.num_outer_dims, 0);
  std::byte* target = out.data();
  do {
    read_rows(*this, base + first_byte(region, outer, element_bytes), runs, target);
    target += runs.num_rows * runs.run;
  } while (advance(outer, region.extent));
}

}  // namespace osler::store
