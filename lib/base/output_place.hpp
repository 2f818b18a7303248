// What can be known at the start of a place that will be written to hours later. Local.
#pragma once

#include <string>

namespace osler {

/// Throws StorageError, naming `key`, the path and what to do, unless files can be made at `path`: it is a folder or,
/// while it is missing, the nearest existing one above it is; that can be written by this user; its file system is
/// neither read-only nor out of space or file numbers. Tries it with a file that is removed at once. Returns the folder
/// tried.
std::string require_writable_place(const std::string& key, const std::string& path);

/// The folder of a file that is to be written; "." for a bare name.
std::string folder_of(const std::string& path);

}  // namespace osler
