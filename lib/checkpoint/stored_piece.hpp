// Filling a tensor from wherever its elements lie: intersection arithmetic between pieces in files and the piece
// wanted. Reads only what is covered; memory beyond the target is bounded by one slab. Local.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "comm/sharded_tensor.hpp"
#include "store/region_file.hpp"

namespace osler::checkpoint {

/// A piece of a tensor as a row-major block of bytes in a file.
struct StoredPiece {
  std::string path;
  std::uint64_t at = 0;  ///< first byte
  plan::Piece piece;     ///< its name is not used; dtype is the stored one
};

/// Open files by path, a bounded number of them.
class OpenFiles {
 public:
  const store::RegionFile& at(const std::string& path);

 private:
  std::map<std::string, store::RegionFile> files_;
};

/// Fills `into` from `stored`, which do not overlap, converting the dtype (to nearest even) when it differs. Throws
/// DataError naming the tensor when the shapes differ or the pieces do not cover it.
void load_piece(const std::vector<StoredPiece>& stored, const comm::ShardedTensor& into, OpenFiles& files);

}  // namespace osler::checkpoint
