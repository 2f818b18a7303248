// Exact duplicates across all ranks: each digest is judged by one rank, which keeps its first occurrence in the order
// of the input, so that the choice does not depend on how many ranks there are.
#pragma once

#include <cstddef>
#include <vector>

#include "comm/group.hpp"
#include "data/corpus_pass.hpp"

namespace osler::data {

/// The digests of one unit, in the order of its documents.
struct UnitDigests {
  std::size_t unit = 0;  ///< index over the whole corpus: a lower one comes earlier in the input
  std::vector<Digest> digests;
};

/// For each of this rank's units (by rising index) one flag a document: 1 when the same digest stands earlier, on
/// whatever rank. Needs about 80 bytes a document of this rank's share. *Collective over `group`.*
std::vector<std::vector<char>> find_duplicates(comm::Group& group, const std::vector<UnitDigests>& mine);

}  // namespace osler::data
