#include "eval/journal.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/error.hpp"
#include "base/publish.hpp"

namespace osler::eval {

namespace {

constexpr std::uint64_t kMaxBytes = std::uint64_t{16} << 30;  // all texts of the largest benchmark, many times over

void write_all(int file, const std::string& text, const std::string& path) {
  for (std::size_t at = 0; at < text.size();) {
    const ssize_t written = ::write(file, text.data() + at, text.size() - at);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) throw StorageError("cannot write ", path, ": ", std::strerror(errno));
    at += static_cast<std::size_t>(written);
  }
}

std::vector<std::string> files_of(const std::string& folder) {
  std::vector<std::string> paths;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error))
    if (entry.path().extension() == ".jsonl") paths.push_back(entry.path().string());
  std::sort(paths.begin(), paths.end());
  return paths;
}

}  // namespace

Journal::Journal(const std::string& folder, int rank, bool writes) {
  if (!writes) return;
  make_directories(folder);
  std::string number = std::to_string(rank);
  number.insert(0, number.size() < 5 ? 5 - number.size() : 0, '0');
  path_ = folder + "/rank_" + number + ".jsonl";
  file_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (file_ < 0) throw StorageError("cannot open ", path_, ": ", std::strerror(errno));
  struct stat status {};
  // A torn last line gets its end, so that the next one is whole.
  if (::fstat(file_, &status) == 0 && status.st_size > 0) write_all(file_, "\n", path_);
  sync_directory(folder);
}

Journal::~Journal() {
  if (file_ >= 0) ::close(file_);
}

void Journal::append(const std::vector<Json>& records) {
  if (file_ < 0 || records.empty()) return;
  std::string text;
  for (const Json& record : records) text += record.dump() + "\n";
  write_all(file_, text, path_);
  if (::fdatasync(file_) != 0) throw StorageError("cannot write ", path_, ": ", std::strerror(errno));
}

std::string Journal::read(const std::string& folder) {
  std::string text;
  for (const std::string& path : files_of(folder)) {
    const std::string content = read_file(path, kMaxBytes);
    text += content.substr(0, content.rfind('\n') + 1);
  }
  return text;
}

std::vector<Json> Journal::parse(const std::string& text) {
  std::vector<Json> records;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    Json record = Json::parse(text.begin() + static_cast<std::ptrdiff_t>(begin),
                              text.begin() + static_cast<std::ptrdiff_t>(end), nullptr, false);
    if (record.is_object()) records.push_back(std::move(record));
    begin = end + 1;
  }
  return records;
}

}  // namespace osler::eval
