#include "base/visibility.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <thread>

#include "base/error.hpp"

namespace osler {
namespace {

std::atomic<double> patience_s{90};

constexpr std::chrono::milliseconds kFirstPause{10};
constexpr std::chrono::milliseconds kLongestPause{1000};

}  // namespace

void set_visible_within(double seconds) {
  patience_s = seconds;
}

bool becomes_visible(const std::string& path) {
  std::chrono::duration<double> waited{0};
  for (auto pause = kFirstPause;; pause = std::min(2 * pause, kLongestPause)) {
    // open(2) asks the server where stat(2) may answer from a cache.
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    const int reason = errno;
    if (descriptor >= 0) ::close(descriptor);
    if (descriptor >= 0 || (reason != ENOENT && reason != ESTALE)) return true;
    if (waited.count() >= patience_s) return false;
    std::this_thread::sleep_for(pause);
    waited += pause;
  }
}

void wait_until_visible(const std::string& path) {
  if (!becomes_visible(path))
    throw StorageError("'", path, "', which rank 0 sees, is not visible here after ", patience_s.load(),
                       " s; it must lie on a file system that all nodes share (files.visible_within_s)");
}

}  // namespace osler
