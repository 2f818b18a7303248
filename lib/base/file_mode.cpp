#include "base/file_mode.hpp"

#include <sys/stat.h>

#include <atomic>

namespace osler {
namespace {

std::atomic<FilePrivacy> current{FilePrivacy::text};

}  // namespace

void set_file_privacy(FilePrivacy privacy) {
  current = privacy;
  if (privacy == FilePrivacy::all) ::umask(077);
}

mode_t text_file_mode() {
  return current == FilePrivacy::none ? kFileMode : 0600;
}

}  // namespace osler
