// Network file systems show what another node has written late: half a minute and more where attributes are cached. A
// rank that misses a file which rank 0 sees waits for it before it calls it missing. Local.
#pragma once

#include <string>

namespace osler {

/// How long to wait (files.visible_within_s), for the process; 90 until set.
void set_visible_within(double seconds);

/// True once `path`, a file or folder that rank 0 sees, can be opened here, or fails to for another reason than being
/// unknown (ENOENT, ESTALE): that is for the caller to meet. False when the time is up.
bool becomes_visible(const std::string& path);
/// The same; throws StorageError when the time is up.
void wait_until_visible(const std::string& path);

}  // namespace osler
