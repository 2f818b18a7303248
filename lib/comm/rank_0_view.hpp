// What rank 0 sees of a file system, for all: one rank's listing is shared, and no other rank trusts its own.
#pragma once

#include <string>
#include <vector>

#include "comm/group.hpp"

namespace osler::comm {

/// Rank 0's list on every rank. *Collective.*
std::vector<std::string> broadcast_list(Group& group, const std::vector<std::string>& list);

/// The others wait until they see each of rank 0's `paths` (base/visibility.hpp). Throws StorageError on all ranks when
/// one does not in time. *Collective.*
void wait_for_files(Group& group, const std::vector<std::string>& paths);

}  // namespace osler::comm
