#include "checkpoint/file_writer.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.hpp"
#include "base/file_mode.hpp"

namespace osler::checkpoint {
namespace {

// Summed and written in turns while still in cache.
constexpr std::size_t kChunkBytes = std::size_t{4} << 20;

}  // namespace

FileWriter::FileWriter(const std::string& path) : path_(path) {
  descriptor_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, kFileMode);
  if (descriptor_ < 0) fail("create");
}

FileWriter::~FileWriter() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!finished_) ::unlink(path_.c_str());
}

void FileWriter::fail(const char* what) const {
  const int code = errno;
  const char* advice = code == ENOSPC || code == EDQUOT ? "; free space or choose another file system" : "";
  throw StorageError("cannot ", what, " '", path_, "': ", std::strerror(code), advice);
}

void FileWriter::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const auto chunk = bytes.first(std::min(kChunkBytes, bytes.size()));
    sum_.update(chunk);
    for (std::size_t done = 0; done < chunk.size();) {
      const ssize_t count = ::write(descriptor_, chunk.data() + done, chunk.size() - done);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) fail("write");
      done += static_cast<std::size_t>(count);
    }
    // Starts the disk on these pages now, so that the final fsync finds little left to wait for; errors come up there.
    ::sync_file_range(descriptor_, static_cast<off_t>(num_bytes_), static_cast<off_t>(chunk.size()),
                      SYNC_FILE_RANGE_WRITE);
    num_bytes_ += chunk.size();
    bytes = bytes.subspan(chunk.size());
  }
}

std::string FileWriter::finish() {
  if (::fsync(descriptor_) != 0) fail("fsync");
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0) fail("stat");
  if (static_cast<std::uint64_t>(status.st_size) != num_bytes_)
    throw StorageError("'", path_, "' has ", status.st_size, " bytes on disk after writing ", num_bytes_,
                       ": check the file system");
  if (::close(std::exchange(descriptor_, -1)) != 0) fail("close");
  finished_ = true;
  return sum_.hex();
}

}  // namespace osler::checkpoint
