// The files behind a configured path, and what a file holds, told from its name. Local.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace osler::text {

enum class FileFormat { json_lines, whole_document };

inline constexpr char kKnownEndings[] =
    "its name must end in .jsonl, .json, .txt or .md, with .gz or .zst behind it if compressed";

/// Nothing when the ending is not one of kKnownEndings (letter case does not count).
std::optional<FileFormat> file_format_of(const std::string& path);

/// The file itself, all files in a folder (recursively, hidden ones left out), or what a glob matches (folders again
/// with their files); sorted. Throws DataError naming the path when nothing is there, StorageError when it cannot be
/// listed.
std::vector<std::string> find_files(const std::string& path);

}  // namespace osler::text
