// <run>/metrics.jsonl: one JSON object per line, append-only while a run lives, cut to the restored step when it is
// resumed. Local: the writing rank owns the file, the other ranks hold a silent object.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace osler::train {

enum class MetricsRole { writer, silent };

inline constexpr std::int64_t kMetricsSchemaVersion = 1;  ///< `schema_version` of every row (docs/formats.md)

class MetricsFile {
 public:
  /// Opens `path` for appending after dropping every row past `restored_step` and a torn last line; restored_step = -1
  /// drops all. Throws StorageError naming the path, or DataError when the file holds lines that are not rows.
  MetricsFile(std::string path, std::int64_t restored_step, MetricsRole role);
  ~MetricsFile();
  MetricsFile(const MetricsFile&) = delete;
  MetricsFile& operator=(const MetricsFile&) = delete;

  /// Hands one row to the file system. A full disk does not stop a run: the row is kept and tried again with the next.
  void append(const nlohmann::ordered_json& row);
  /// fsync: before a checkpoint that supersedes these rows' steps becomes visible. Throws StorageError when rows could
  /// not be written.
  void sync();

 private:
  void flush_pending();

  std::string path_;
  MetricsRole role_;
  int file_ = -1;
  std::int64_t size_ = 0;  ///< bytes of whole rows in the file
  std::string pending_;    ///< rows that did not fit yet
};

/// The rows of `text` with step <= `last_step`, whole lines only. Throws DataError on a line in the middle that is not
/// a row (the last line may be torn: a kill can cut it).
std::string cut_metrics(const std::string& text, std::int64_t last_step, const std::string& origin);

}  // namespace osler::train
