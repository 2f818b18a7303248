#include "base/output_place.hpp"

#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/error.hpp"

namespace osler {
namespace {

namespace fs = std::filesystem;

/// "run.dir = runs/a (/home/me/runs/a)": people give relative paths and look elsewhere for them.
std::string named(const std::string& key, const std::string& path, const fs::path& absolute) {
  return text_of(key, " = ", path, path == absolute.string() ? "" : text_of(" (", absolute.string(), ")"));
}

std::string reason_of(int code, const std::string& folder) {
  const std::string reason = std::strerror(code);
  struct statvfs status {};
  const bool known = ::statvfs(folder.c_str(), &status) == 0;
  switch (code) {
    case EACCES:
    case EPERM:
      return text_of(reason, " for user ", ::geteuid(), "; check the permissions of it and of every folder above it");
    case EROFS:
      return reason + "; choose another file system";
    case EDQUOT:
      return reason + "; your quota is used up: free space or choose another file system";
    case ENOSPC:
      if (known && status.f_files > 0 && status.f_favail == 0)
        return "no file numbers (inodes) are left on this file system; remove files or choose another";
      return reason + "; free space or choose another file system";
    default:
      return reason;
  }
}

}  // namespace

std::string require_writable_place(const std::string& key, const std::string& path) {
  std::error_code error;
  const fs::path absolute = fs::absolute(path, error).lexically_normal();
  const std::string name = named(key, path, absolute);
  fs::path folder = absolute;
  for (; folder.has_relative_path(); folder = folder.parent_path()) {
    const fs::file_status target = fs::status(folder, error);
    if (fs::exists(target)) break;
    // A folder that may not be looked into hides what is below it.
    if (error && error.value() != ENOENT && error.value() != ENOTDIR)
      throw StorageError(name, ": cannot look at '", folder.string(),
                         "': ", reason_of(error.value(), folder.parent_path().string()));
    if (fs::is_symlink(fs::symlink_status(folder, error)))
      throw StorageError(name, ": '", folder.string(), "' is a symbolic link to nothing; make its target or remove it");
  }
  if (!fs::is_directory(folder, error)) throw StorageError(name, ": '", folder.string(), "' is not a folder");
  std::string probe = (folder / ".osler_write_test_XXXXXX").string();
  const int descriptor = ::mkstemp(probe.data());
  if (descriptor < 0)
    throw StorageError(name, ": cannot create a file in '", folder.string(), "': ", reason_of(errno, folder.string()));
  ::close(descriptor);
  ::unlink(probe.c_str());
  return folder.string();
}

std::string folder_of(const std::string& path) {
  const fs::path parent = fs::path(path).parent_path();
  return parent.empty() ? "." : parent.string();
}

}  // namespace osler
