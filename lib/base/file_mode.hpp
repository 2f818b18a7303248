// Who may read what the program writes. One setting for the process, made once after the configuration is known and
// before any thread writes; every place that creates a file asks here. Local.
#pragma once

#include <sys/types.h>

namespace osler {

/// none: the umask alone decides. text: files that hold text of documents, questions or answers are the owner's. all:
/// every file and folder is.
enum class FilePrivacy { none, text, all };

/// FilePrivacy::text until called. `all` sets the umask to 077.
void set_file_privacy(FilePrivacy privacy);

/// Modes to create with, less the umask.
inline constexpr mode_t kFileMode = 0644;
mode_t text_file_mode();  ///< 0600, or 0644 with FilePrivacy::none

}  // namespace osler
