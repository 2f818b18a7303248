#include "train/metrics.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/publish.hpp"

namespace osler::train {

namespace {

// A metrics row is at most a few kB; 8 GiB is more rows than any run logs.
constexpr std::uint64_t kMaxMetricsBytes = std::uint64_t{8} << 30;

std::optional<std::int64_t> step_of(std::string_view line) {
  const auto row = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!row.is_object()) return std::nullopt;
  const auto step = row.find("step");
  if (step == row.end() || !step->is_number_integer()) return std::nullopt;
  return step->get<std::int64_t>();
}

}  // namespace

std::string cut_metrics(const std::string& text, std::int64_t last_step, const std::string& origin) {
  std::string kept;
  std::int64_t line_number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    ++line_number;
    const std::size_t newline = text.find('\n', begin);
    if (newline == std::string::npos) break;  // torn by a kill: its step is past the restored one or is done again
    const std::string_view line(text.data() + begin, newline - begin);
    const auto step = step_of(line);
    if (!step && newline + 1 != text.size())
      throw DataError(origin, ":", line_number, " is not a metrics row; move the file aside to start a new one");
    if (step && *step <= last_step) kept.append(line).push_back('\n');
    begin = newline + 1;
  }
  return kept;
}

MetricsFile::MetricsFile(std::string path, std::int64_t restored_step, MetricsRole role)
    : path_(std::move(path)), role_(role) {
  if (role_ == MetricsRole::silent) return;
  if (std::filesystem::is_regular_file(path_)) {
    const std::string text = read_file(path_, kMaxMetricsBytes);
    const std::string kept = cut_metrics(text, restored_step, path_);
    if (kept != text) publish_file(path_, kept);
    size_ = static_cast<std::int64_t>(kept.size());
  }
  file_ = ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, kFileMode);
  if (file_ < 0) throw StorageError("cannot open ", path_, " for appending: ", std::strerror(errno));
}

MetricsFile::~MetricsFile() {
  if (file_ >= 0) ::close(file_);
}

void MetricsFile::append(const nlohmann::ordered_json& row) {
  if (role_ == MetricsRole::silent) return;
  const bool had_trouble = !pending_.empty();
  pending_ += row.dump();
  pending_ += '\n';
  flush_pending();
  if (!pending_.empty() && !had_trouble)
    log::warning("cannot append to ", path_, " (", std::strerror(errno), "); rows are kept in memory and tried again");
}

// Whole rows or nothing: what a failing write left behind is cut off again.
void MetricsFile::flush_pending() {
  std::size_t done = 0;
  while (done < pending_.size()) {
    const ssize_t written = ::write(file_, pending_.data() + done, pending_.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      const int reason = errno;
      if (::ftruncate(file_, size_) != 0) log::warning("cannot cut a torn row off ", path_, ": ", std::strerror(errno));
      errno = reason;
      return;
    }
    done += static_cast<std::size_t>(written);
  }
  size_ += static_cast<std::int64_t>(pending_.size());
  pending_.clear();
}

void MetricsFile::sync() {
  if (role_ == MetricsRole::silent) return;
  flush_pending();
  if (!pending_.empty() || ::fsync(file_) != 0)
    throw StorageError("cannot write ", path_, ": ", std::strerror(errno), "; free space and start again");
}

}  // namespace osler::train
