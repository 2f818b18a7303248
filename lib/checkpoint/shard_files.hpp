// The data files of a checkpoint: tensors' pieces in HDF5 files of bounded size, built as images in memory and written
// by us, piece by piece, so that memory beyond the tensors is bounded by the largest piece. Local.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/manifest.hpp"
#include "plan/piece.hpp"

namespace osler::checkpoint {

/// 2 GiB: below the int limits of MPI and of older HDF5 tools, and small enough to share the work of verifying.
inline constexpr std::uint64_t kMaxFileBytes = std::uint64_t{2} << 30;

/// Puts the elements of pieces[index] into `out`, row-major, in the piece's dtype.
using FillPiece = std::function<void(std::size_t index, std::span<std::byte> out)>;

struct ShardPlan {
  std::string directory;
  std::int64_t rank = 0;  ///< files are rank_%05d.h5, rank_%05d_1.h5, ...
  std::int64_t world_size = 1;
  std::int64_t step = 0;
  std::uint64_t max_file_bytes = kMaxFileBytes;
};

struct WrittenShard {
  std::vector<FileEntry> files;
  std::vector<TensorEntry> tensors;  ///< with this rank's pieces only
};

/// Durable on return. Throws StorageError naming the file.
WrittenShard write_shard_files(const ShardPlan& plan, const std::vector<plan::Piece>& pieces, const FillPiece& fill);

/// index.h5: every tensor of the manifest as one virtual dataset over its pieces, for people with h5py.
FileEntry write_index_file(const std::string& directory, const Manifest& manifest);
/// Copies tokenizer files byte for byte into <directory>/tokenizer/.
std::vector<FileEntry> copy_tokenizer_files(const std::string& directory, const std::vector<std::string>& paths);
/// The manifest, durable, as the last file of the directory.
void write_manifest(const std::string& directory, Manifest manifest);

}  // namespace osler::checkpoint
