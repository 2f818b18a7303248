// manifest.json: the one file that makes a directory a checkpoint. It lists every file with its size and SHA-256, every
// tensor with the pieces that tile it, and the run state; it carries the sum of itself. Format: docs/formats.md. Local.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "checkpoint/checkpoint.hpp"

namespace osler::checkpoint {

inline constexpr const char* kManifestName = "manifest.json";
inline constexpr const char* kIndexName = "index.h5";
inline constexpr std::int64_t kFormatVersion = 2;
inline constexpr std::int64_t kOldestFormatVersion = 1;  ///< without provenance: what it saw was pretraining

struct FileEntry {
  std::string name;  ///< relative to the checkpoint; at most one folder, "tokenizer/"
  std::uint64_t num_bytes = 0;
  std::string sha256;
};

struct PieceEntry {
  std::size_t file = 0;  ///< index into the files
  std::string dataset;
  std::uint64_t at = 0;  ///< first byte in the file
  std::vector<std::int64_t> offset;
  std::vector<std::int64_t> extent;
};

struct TensorEntry {
  std::string name;
  DType dtype = DType::fp32;
  std::vector<std::int64_t> shape;
  std::vector<PieceEntry> pieces;
};

struct Manifest {
  std::int64_t world_size = 1;
  std::string created;
  RunState state;
  std::vector<FileEntry> files;
  std::vector<TensorEntry> tensors;  ///< sorted by name
};

/// A sound manifest of a format this program does not know: refused, but not damaged.
class UnknownFormat : public CheckpointError {
 public:
  using CheckpointError::CheckpointError;
};

std::string manifest_text(const Manifest& manifest);
/// Strict: known keys only, sizes and ranges checked, every tensor tiled exactly once, own sum correct.
/// Throws CheckpointError naming `origin` and what is wrong.
Manifest parse_manifest(const std::string& text, const std::string& origin);
/// Reads <directory>/manifest.json; CheckpointError also when it is missing.
Manifest read_manifest(const std::string& directory);

/// What one rank wrote, to be sent to rank 0, and the union of such parts: files renumbered, pieces joined by tensor.
std::string part_text(const std::vector<FileEntry>& files, const std::vector<TensorEntry>& tensors);
void add_part(Manifest& manifest, const std::string& part);

/// Throws InternalError naming the tensor unless its pieces tile its shape exactly once.
void check_tiling(const TensorEntry& tensor);

}  // namespace osler::checkpoint
