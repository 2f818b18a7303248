// Whether a checkpoint's files are the ones its manifest names. Local.
#pragma once

#include <string>
#include <vector>

#include "checkpoint/manifest.hpp"

namespace osler::checkpoint {

/// Throws CheckpointError naming the first file that is missing or has another size.
void check_sizes(const std::string& directory, const Manifest& manifest);

/// Sums the `share`-th of `num_shares` parts of the files. One line per damaged file, naming it. Throws StorageError
/// when a file may not be read: that is no damage.
std::vector<std::string> find_damage(const std::string& directory, const Manifest& manifest, int share, int num_shares);

}  // namespace osler::checkpoint
