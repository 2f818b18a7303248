// Whether a checkpoint's files are the ones its manifest names. Local but for what says otherwise.
#pragma once

#include <string>
#include <vector>

#include "checkpoint/manifest.hpp"
#include "comm/group.hpp"

namespace osler::checkpoint {

/// What is wrong with a checkpoint, "" when every file has its sum: each rank sums a share of the files, and all have
/// the same answer. Afterwards every rank can open the files of a sound one. Throws UnknownFormat, and StorageError
/// when a file may not be read or a rank does not see one that rank 0 does: neither is damage. *Collective.*
std::string shared_verdict(comm::Group& group, const std::string& directory);

/// Throws CheckpointError naming the first file that is missing or has another size.
void check_sizes(const std::string& directory, const Manifest& manifest);

/// Sums the `share`-th of `num_shares` parts of the files. One line per damaged file, naming it. Throws StorageError
/// when a file may not be read: that is no damage.
std::vector<std::string> find_damage(const std::string& directory, const Manifest& manifest, int share, int num_shares);

}  // namespace osler::checkpoint
