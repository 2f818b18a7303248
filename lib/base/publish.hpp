// Durable publishing of files and directories: what is visible under its final name is whole and on disk.
// Local; callers decide which rank calls. All functions throw StorageError naming the path and the reason.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/file_mode.hpp"

namespace osler {

/// Creates `path` and its missing parents (mode 0777 less umask).
void make_directories(const std::string& path);
/// Writes all bytes to a new file, fsyncs, closes and checks the size on disk. Returns its SHA-256. `mode` is
/// text_file_mode() for whatever holds text of documents, questions or answers.
std::string write_file_synced(const std::string& path, std::span<const std::byte> bytes, mode_t mode = kFileMode);
/// Writes beside `path` under a temporary name, fsyncs, renames over `path`, fsyncs the folder.
void publish_file(const std::string& path, std::string_view text, mode_t mode = kFileMode);
/// fsync of a folder, so that names created or renamed in it survive a crash.
void sync_directory(const std::string& path);
/// rename(2) of a finished folder to its final name, then fsync of the parent.
void publish_directory(const std::string& temporary, const std::string& final_name);
/// Whole file as text; throws StorageError, or DataError when larger than `max_bytes`.
std::string read_file(const std::string& path, std::uint64_t max_bytes = std::uint64_t{1} << 30);
/// Bytes free to this user on the file system that holds `path` (nearest existing parent).
std::uint64_t free_bytes(const std::string& path);
/// Throws StorageError unless a file can be created in `path` (the folder is made if missing).
void require_writable_directory(const std::string& path);

}  // namespace osler
