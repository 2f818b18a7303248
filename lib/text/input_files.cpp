#include "text/input_files.hpp"

#include <glob.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <vector>

#include "base/error.hpp"
#include "base/log.hpp"
#include "text/document_reader.hpp"

namespace osler::text {
namespace {

namespace fs = std::filesystem;

/// Regular files under a folder, links followed, hidden names left out.
std::vector<std::string> files_under(const std::string& folder) {
  std::vector<std::string> files;
  std::error_code failure;
  fs::recursive_directory_iterator entry(folder, fs::directory_options::follow_directory_symlink, failure);
  while (!failure && entry != fs::recursive_directory_iterator()) {
    const bool hidden = entry->path().filename().string().starts_with('.');
    std::error_code ignored;
    if (hidden) {
      if (entry->is_directory(ignored)) entry.disable_recursion_pending();
    } else if (entry->is_regular_file(ignored)) {
      files.push_back(entry->path().string());
    }
    // A link that leads back up would never end.
    if (entry.depth() > 32)
      throw DataError("folders below ", folder, " are nested too deep; is there a loop of links?");
    entry.increment(failure);
  }
  if (failure) throw StorageError("cannot list the folder ", folder, ": ", failure.message());
  return files;
}

std::vector<std::string> matches_of(const std::string& pattern) {
  glob_t found{};
  std::vector<std::string> files;
  const int result = glob(pattern.c_str(), 0, nullptr, &found);
  for (std::size_t i = 0; result == 0 && i < found.gl_pathc; ++i) files.emplace_back(found.gl_pathv[i]);
  globfree(&found);
  return files;
}

}  // namespace

std::optional<FileFormat> file_format_of(const std::string& path) {
  std::string name = path;
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  std::string_view rest = name;
  if (rest.ends_with(".gz")) {
    rest.remove_suffix(3);
  } else if (rest.ends_with(".zst")) {
    rest.remove_suffix(4);
  }
  if (rest.ends_with(".jsonl") || rest.ends_with(".json")) return FileFormat::json_lines;
  if (rest.ends_with(".txt") || rest.ends_with(".md")) return FileFormat::whole_document;
  return std::nullopt;
}

std::vector<std::string> find_files(const std::string& path) {
  std::error_code failure;
  const fs::file_status status = fs::status(path, failure);
  if (fs::is_directory(status)) {
    std::vector<std::string> found = files_under(path);
    std::sort(found.begin(), found.end());
    return found;
  }
  if (fs::exists(status)) return {path};
  std::vector<std::string> found;
  for (const std::string& match : matches_of(path)) {
    if (fs::is_directory(match, failure)) {
      const std::vector<std::string> inside = files_under(match);
      found.insert(found.end(), inside.begin(), inside.end());
    } else {
      found.push_back(match);
    }
  }
  if (found.empty()) throw DataError(path, " does not exist and matches no file");
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

std::vector<std::string> expand_input(const std::string& path) {
  const std::vector<std::string> found = find_files(path);
  if (found.size() == 1 && found.front() == path && !file_format_of(path))
    throw DataError("cannot read ", path, ": ", kKnownEndings);
  std::vector<std::string> files;
  for (const std::string& file : found) {
    if (file_format_of(file)) files.push_back(file);
  }
  if (files.empty()) throw DataError("input ", path, " holds no file that can be read: ", kKnownEndings);
  if (files.size() < found.size()) {
    log::info("input ", path, ": ", found.size() - files.size(), " file(s) left out because of their ending, ",
              files.size(), " taken");
  }
  return files;
}

}  // namespace osler::text
