#include "base/publish.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/sha256.hpp"

namespace osler {
namespace {

// Summed and written in turns, so that the sum costs no second pass over memory.
constexpr std::size_t kChunkBytes = std::size_t{8} << 20;

std::string advice_for(int code) {
  switch (code) {
    case ENOSPC:
      return "; free space on this file system or choose another";
    case EDQUOT:
      return "; your quota is used up: free space or choose another file system";
    case EACCES:
    case EPERM:
      return "; check the permissions of the path and of every folder above it";
    case EROFS:
      return "; the file system is read-only: choose another";
    case EFBIG:
      return "; the file is larger than the file system or 'ulimit -f' allows";
    case ENOTEMPTY:
    case EEXIST:
      return "; move away what stands there";
    default:
      return "";
  }
}

[[noreturn]] void fail(const std::string& what, const std::string& path, int code) {
  throw StorageError("cannot ", what, " '", path, "': ", std::strerror(code), advice_for(code));
}

class File {
 public:
  File(std::string path, int flags, const std::string& what, mode_t mode = kFileMode)
      : path_(std::move(path)), descriptor_(::open(path_.c_str(), flags | O_CLOEXEC, mode)) {
    if (descriptor_ < 0) fail(what, path_, errno);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  int descriptor() const { return descriptor_; }

  void write_all(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t count = ::write(descriptor_, bytes.data(), bytes.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) fail("write", path_, errno);
      bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
  }
  /// A file that stood there keeps its mode when it is opened: one that all could read must not get private text.
  void narrow_to(mode_t mode) {
    if ((status().st_mode & 07777 & ~mode) != 0 && ::fchmod(descriptor_, mode) != 0) fail("chmod", path_, errno);
  }
  void sync() {
    if (::fsync(descriptor_) != 0) fail("fsync", path_, errno);
  }
  struct stat status() const {
    struct stat result {};
    if (::fstat(descriptor_, &result) != 0) fail("stat", path_, errno);
    return result;
  }
  /// Network file systems report failed writes here, so the result is not to be dropped.
  void close() {
    if (::close(std::exchange(descriptor_, -1)) != 0) fail("close", path_, errno);
  }

 private:
  std::string path_;
  int descriptor_;
};

std::string parent_of(const std::string& path) {
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  return parent.empty() ? "." : parent.string();
}

/// "a/b/" and "a/b" name the same folder; the parent of the first must not be itself.
std::string without_trailing_slash(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

}  // namespace

void make_directories(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(without_trailing_slash(path), error);
  if (error) fail("create the folder", path, error.value());
  if (!std::filesystem::is_directory(path, error)) fail("create the folder", path, error ? error.value() : ENOTDIR);
}

std::string write_file_synced(const std::string& path, std::span<const std::byte> bytes, mode_t mode) {
  File file(path, O_WRONLY | O_CREAT | O_TRUNC, "create", mode);
  try {
    file.narrow_to(mode);
    Sha256 sum;
    for (std::size_t begin = 0; begin < bytes.size(); begin += kChunkBytes) {
      const auto chunk = bytes.subspan(begin, std::min(kChunkBytes, bytes.size() - begin));
      sum.update(chunk);
      file.write_all(chunk);
    }
    file.sync();
    const auto on_disk = static_cast<std::uint64_t>(file.status().st_size);
    if (on_disk != bytes.size())
      throw StorageError("'", path, "' has ", on_disk, " bytes on disk after writing ", bytes.size(),
                         ": check the file system");
    file.close();
    return sum.hex();
  } catch (...) {
    ::unlink(path.c_str());  // half a file under its name would look like a whole one
    throw;
  }
}

void publish_file(const std::string& path, std::string_view text, mode_t mode) {
  const std::string temporary = path + ".tmp";  // one fixed name: what a killed run left is overwritten by the next
  write_file_synced(temporary, std::as_bytes(std::span(text)), mode);
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    const int code = errno;
    ::unlink(temporary.c_str());
    fail("rename '" + temporary + "' to", path, code);
  }
  sync_directory(parent_of(path));
}

void sync_directory(const std::string& path) {
  File folder(path, O_RDONLY | O_DIRECTORY, "open the folder");
  // EINVAL: a file system without fsync on folders; it orders names by itself or cannot at all.
  if (::fsync(folder.descriptor()) != 0 && errno != EINVAL) fail("fsync the folder", path, errno);
}

void publish_directory(const std::string& temporary, const std::string& final_name) {
  const std::string from = without_trailing_slash(temporary);
  const std::string to = without_trailing_slash(final_name);
  if (::rename(from.c_str(), to.c_str()) != 0) fail("rename the folder '" + from + "' to", to, errno);
  sync_directory(parent_of(to));
  if (parent_of(from) != parent_of(to)) sync_directory(parent_of(from));
}

std::string read_file(const std::string& path, std::uint64_t max_bytes) {
  File file(path, O_RDONLY, "open");
  const auto check_size = [&](std::uint64_t size) {
    if (size > max_bytes)
      throw DataError("'", path, "' has more than ", max_bytes, " bytes, the most that is read of such a file");
  };
  const struct stat status = file.status();
  if (S_ISDIR(status.st_mode)) fail("read", path, EISDIR);
  check_size(static_cast<std::uint64_t>(status.st_size));
  std::string text;
  text.reserve(static_cast<std::size_t>(status.st_size));
  std::vector<char> buffer(std::size_t{1} << 16);
  for (;;) {
    const ssize_t count = ::read(file.descriptor(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail("read", path, errno);
    if (count == 0) return text;
    text.append(buffer.data(), static_cast<std::size_t>(count));
    check_size(text.size());
  }
}

std::uint64_t free_bytes(const std::string& path) {
  std::error_code error;
  std::filesystem::path existing = std::filesystem::absolute(path, error);
  while (!std::filesystem::exists(existing, error) && existing.has_relative_path()) existing = existing.parent_path();
  struct statvfs status {};
  if (::statvfs(existing.c_str(), &status) != 0) fail("ask for the free space of", existing.string(), errno);
  return static_cast<std::uint64_t>(status.f_bavail) * status.f_frsize;
}

void require_writable_directory(const std::string& path) {
  make_directories(path);
  std::string probe = path + "/.osler_write_test_XXXXXX";
  const int descriptor = ::mkstemp(probe.data());
  if (descriptor < 0) fail("create a file in", path, errno);
  ::close(descriptor);
  ::unlink(probe.c_str());
}

}  // namespace osler
