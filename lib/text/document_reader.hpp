// Documents out of JSONL, plain text and Markdown, plain or .gz or .zst. Every record that cannot be used is named with
// file, line and reason; the caller decides whether to go on. Local.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace osler::text {

struct Document {
  std::string id;
  std::string source;
  std::string text;
};

enum class DropReason { bad_utf8, bad_json, missing_field, empty, too_long, duplicate };
const char* name_of(DropReason reason);

struct Problem {
  std::string file;
  std::int64_t line = 0;  ///< from 1; 0 = the whole file
  DropReason reason = DropReason::empty;
  std::string detail;     ///< never contains text of the document
};

/// Files behind a configured path: itself, the readable ones in a folder (recursively, sorted), or a glob's matches.
/// Throws DataError naming the path when nothing is there.
std::vector<std::string> expand_input(const std::string& path);

class DocumentReader {
 public:
  /// format by name: .jsonl/.json lines, .txt, .md, each with optional .gz/.zst. Throws DataError/StorageError.
  DocumentReader(const std::string& path, const std::string& source, const std::string& text_field,
                 std::function<void(const Problem&)> on_problem);
  ~DocumentReader();
  std::optional<Document> next();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace osler::text
