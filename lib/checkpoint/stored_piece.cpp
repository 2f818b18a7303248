#include "checkpoint/stored_piece.hpp"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/error.hpp"
#include "comm/torch_dtype.hpp"

namespace osler::checkpoint {
namespace {

constexpr std::size_t kMaxOpenFiles = 64;
// Read, convert and copy at most about this much at once: beside a model, no visible memory.
constexpr std::int64_t kSlabBytes = std::int64_t{16} << 20;

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (const std::int64_t size : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + "]";
}

std::span<std::byte> bytes_of(const at::Tensor& tensor) {
  return {static_cast<std::byte*>(tensor.data_ptr()), static_cast<std::size_t>(tensor.nbytes())};
}

void read_block(const StoredPiece& source, const store::RegionFile& file, store::Region region, at::Tensor target) {
  const at::ScalarType type = comm::scalar_type_of(source.piece.dtype);
  const std::size_t element = size_bytes(source.piece.dtype);
  if (target.is_cpu() && target.is_contiguous() && target.scalar_type() == type) {
    file.read_region(source.at, element, region, bytes_of(target));
    return;
  }
  const at::Tensor block = at::empty(region.extent, at::TensorOptions().dtype(type));
  file.read_region(source.at, element, region, bytes_of(block));
  target.copy_(block);
}

/// The part `common` of both, slab by slab along the first dim.
void copy_common(const StoredPiece& source, const comm::ShardedTensor& into, const plan::Piece& common,
                 const store::RegionFile& file) {
  const std::size_t rank = common.extent.size();
  store::Region region{source.piece.extent, common.offset, common.extent};
  at::Tensor target = into.data.view(into.piece.extent);
  for (std::size_t dim = 0; dim < rank; ++dim) {
    region.offset[dim] -= source.piece.offset[dim];
    target =
        target.narrow(static_cast<std::int64_t>(dim), common.offset[dim] - into.piece.offset[dim], common.extent[dim]);
  }
  if (rank == 0) return read_block(source, file, region, target);
  const std::int64_t first = region.offset[0];
  const std::int64_t num_rows = common.extent[0];
  const std::int64_t row_bytes =
      plan::num_elements(common.extent) / num_rows * static_cast<std::int64_t>(size_bytes(source.piece.dtype));
  const std::int64_t step = std::max<std::int64_t>(1, kSlabBytes / row_bytes);
  for (std::int64_t row = 0; row < num_rows; row += step) {
    region.offset[0] = first + row;
    region.extent[0] = std::min(step, num_rows - row);
    read_block(source, file, region, target.narrow(0, row, region.extent[0]));
  }
}

}  // namespace

const store::RegionFile& OpenFiles::at(const std::string& path) {
  const auto found = files_.find(path);
  if (found != files_.end()) return found->second;
  if (files_.size() >= kMaxOpenFiles) files_.clear();
  return files_.emplace(path, store::RegionFile(path)).first->second;
}

void load_piece(const std::vector<StoredPiece>& stored, const comm::ShardedTensor& into, OpenFiles& files) {
  const at::NoGradGuard no_grad;
  OSLER_CHECK(into.data.is_contiguous() && into.data.numel() == plan::num_elements(into.piece.extent), into.piece.name);
  std::int64_t filled = 0;
  for (const StoredPiece& source : stored) {
    if (source.piece.global_shape != into.piece.global_shape)
      throw DataError("'", into.piece.name, "' has shape ", shape_text(source.piece.global_shape), " in ", source.path,
                      ", but ", shape_text(into.piece.global_shape), " is wanted: another model configuration?");
    plan::Piece named = source.piece;
    named.name = into.piece.name;
    const plan::Piece common = plan::intersection(named, into.piece);
    const std::int64_t count = plan::num_elements(common.extent);
    if (count == 0) continue;
    copy_common(source, into, common, files.at(source.path));
    filled += count;
  }
  if (filled != into.data.numel())
    throw DataError("'", into.piece.name, "': the files hold ", filled, " of the ", into.data.numel(),
                    " elements wanted");
}

}  // namespace osler::checkpoint
