// Documents out of JSONL, plain text and Markdown, plain or .gz or .zst. Every record that cannot be used is named with
// file, line and reason; the caller decides whether to go on. Local.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "text/conversation.hpp"

namespace osler::text {

struct Document {
  std::string id;  ///< the record's "id" (string or integer), else "<file>:<line>"
  std::string source;
  std::string text;               ///< well-formed UTF-8, not blank; of a conversation, its messages joined by newlines
  std::vector<Message> messages;  ///< empty unless read as chat
};

/// Why a document is not used. `corrupt`: the archive is damaged from here on. `contaminated`: it overlaps a benchmark.
/// `bad_turns`: the roles of a conversation are unknown or out of order.
enum class DropReason {
  bad_utf8,
  bad_json,
  missing_field,
  bad_turns,
  empty,
  too_long,
  duplicate,
  corrupt,
  contaminated
};
inline constexpr DropReason kAllDropReasons[] = {DropReason::bad_utf8,  DropReason::bad_json, DropReason::missing_field,
                                                 DropReason::bad_turns, DropReason::empty,    DropReason::too_long,
                                                 DropReason::duplicate, DropReason::corrupt,  DropReason::contaminated};
const char* name_of(DropReason reason);

struct Problem {
  std::string file;
  std::int64_t line = 0;  ///< from 1; 0 = the whole file
  DropReason reason = DropReason::empty;
  std::string detail;  ///< never contains text of the document
};

/// Files behind a configured path: itself, the readable ones in a folder (recursively, sorted), or a glob's matches.
/// Throws DataError naming the path when nothing is there. Hidden files and unknown endings are left out of folders and
/// globs and refused when named; how many were left out is logged.
std::vector<std::string> expand_input(const std::string& path);

/// Whether the file holds one record per line and is not compressed, so that it can be read in parts.
bool can_be_split(const std::string& path);

enum class RecordKind { text, chat };

struct ReaderOptions {
  RecordKind kind = RecordKind::text;
  // The lines that start in [begin, end) of the file; only for files that can be split.
  std::uint64_t begin = 0;
  std::uint64_t end = std::numeric_limits<std::uint64_t>::max();
  std::int64_t first_line = 1;                  ///< number of the first line of the part
  std::int64_t max_record_bytes = 256LL << 20;  ///< larger records are dropped as too_long
};

class DocumentReader {
 public:
  /// format by name: .jsonl/.json lines, .txt, .md, each with optional .gz/.zst. `text_field`: one or more field names
  /// with commas between them, joined by newlines; not used for chat, which only line files can hold. on_problem may
  /// throw to stop. Throws DataError/StorageError.
  DocumentReader(const std::string& path, const std::string& source, const std::string& text_field,
                 std::function<void(const Problem&)> on_problem, const ReaderOptions& options = {});
  ~DocumentReader();
  std::optional<Document> next();
  std::int64_t lines_read() const;  ///< lines of this part so far; 0 for whole-file documents

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace osler::text
