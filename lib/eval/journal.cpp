#include "eval/journal.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string_view>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/publish.hpp"
#include "base/sha256.hpp"

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

// A line is {...,"sum":"0123456789abcdef"}: a JSON object still, whose sum is over the line without it.
constexpr std::string_view kSumKey = ",\"sum\":\"";
constexpr std::size_t kSumDigits = 16;
constexpr std::size_t kTailBytes = kSumKey.size() + kSumDigits + 2;

std::string with_sum(const std::string& line) {
  return line.substr(0, line.size() - 1) + std::string(kSumKey) + sha256_hex(line).substr(0, kSumDigits) + "\"}";
}

/// The line without its sum; nullopt when that is not there or not right.
std::optional<std::string> without_sum(std::string_view line) {
  if (line.size() <= kTailBytes) return std::nullopt;
  std::string body(line.substr(0, line.size() - kTailBytes));
  body += '}';
  return with_sum(body) == line ? std::optional(body) : std::nullopt;
}

void add_sound_lines(const std::string& content, const std::string& path, std::string& into) {
  std::vector<std::size_t> unsound;
  std::size_t number = 1;
  for (std::size_t begin = 0; begin < content.size(); ++number) {
    const std::size_t end = std::min(content.find('\n', begin), content.size());
    const std::string_view line = std::string_view(content).substr(begin, end - begin);
    begin = end + 1;
    if (line.empty()) continue;  // written behind a torn line
    const auto body = without_sum(line);
    if (body)
      into += *body + "\n";
    else
      unsound.push_back(number);
  }
  if (unsound.empty()) return;
  log::warning("'", path, "' line ", unsound.front(),
               unsound.size() > 1 ? text_of(" and ", unsound.size() - 1, " more") : "",
               ": torn by a kill or damaged; what was there is asked again");
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
  file_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, text_file_mode());
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
  for (const Json& record : records) text += with_sum(record.dump()) + "\n";
  write_all(file_, text, path_);
  if (::fdatasync(file_) != 0) throw StorageError("cannot write ", path_, ": ", std::strerror(errno));
}

std::string Journal::read(const std::string& folder) {
  std::string text;
  for (const std::string& path : files_of(folder)) {
    add_sound_lines(read_file(path, kMaxBytes), path, text);
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
