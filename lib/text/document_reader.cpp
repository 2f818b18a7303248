#include "text/document_reader.hpp"

#include <algorithm>
#include <utility>

#include "base/error.hpp"
#include "text/byte_stream.hpp"
#include "text/chat_record.hpp"
#include "text/input_files.hpp"
#include "text/json_record.hpp"
#include "text/line_reader.hpp"
#include "text/utf8.hpp"

namespace osler::text {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

std::vector<std::string> split_fields(const std::string& text_field) {
  std::vector<std::string> fields;
  std::size_t begin = 0;
  while (begin <= text_field.size()) {
    const std::size_t comma = std::min(text_field.find(',', begin), text_field.size());
    std::string field = text_field.substr(begin, comma - begin);
    field.erase(0, field.find_first_not_of(' '));
    field.erase(field.find_last_not_of(' ') + 1);
    if (field.empty())
      throw ConfigError("text_field '", text_field, "' has an empty name; give names like text or question,answer");
    fields.push_back(std::move(field));
    begin = comma + 1;
  }
  return fields;
}

}  // namespace

const char* name_of(DropReason reason) {
  switch (reason) {
    case DropReason::bad_utf8:
      return "bad_utf8";
    case DropReason::bad_json:
      return "bad_json";
    case DropReason::missing_field:
      return "missing_field";
    case DropReason::bad_turns:
      return "bad_turns";
    case DropReason::empty:
      return "empty";
    case DropReason::too_long:
      return "too_long";
    case DropReason::duplicate:
      return "duplicate";
    case DropReason::corrupt:
      return "corrupt";
    case DropReason::contaminated:
      return "contaminated";
  }
  throw InternalError("unknown drop reason");
}

bool can_be_split(const std::string& path) {
  return file_format_of(path) == FileFormat::json_lines && !is_compressed(path);
}

struct DocumentReader::Impl {
  std::string path;
  std::string source;
  std::vector<std::string> fields;
  std::function<void(const Problem&)> on_problem;
  ReaderOptions options;
  FileFormat format = FileFormat::json_lines;
  std::unique_ptr<LineReader> lines;
  std::string line;
  std::int64_t num_lines = 0;
  std::int64_t num_records = 0;
  bool finished = false;

  void report(std::int64_t line_number, DropReason reason, std::string detail) {
    on_problem(Problem{path, line_number, reason, std::move(detail)});
  }

  std::size_t max_bytes() const { return static_cast<std::size_t>(options.max_record_bytes); }

  void open() {
    // A part starts with the first line that begins in it: step back one byte and drop what is left of the line before.
    const std::uint64_t start = options.begin > 0 ? options.begin - 1 : 0;
    lines = std::make_unique<LineReader>(open_byte_stream(path, start), max_bytes());
    if (options.begin > 0) lines->next(line);
  }

  /// The next line that starts inside the part; too_long lines are reported and passed over.
  bool next_line() {
    while (true) {
      const std::uint64_t start = (options.begin > 0 ? options.begin - 1 : 0) + lines->offset();
      if (start >= options.end) return false;
      const LineReader::Status status = lines->next(line);
      if (status == LineReader::Status::end) return false;
      ++num_lines;
      if (status == LineReader::Status::line) return true;
      ++num_records;
      report(line_number(), DropReason::too_long,
             text_of("the record is larger than ", options.max_record_bytes, " bytes"));
    }
  }

  std::int64_t line_number() const { return options.first_line + num_lines - 1; }

  std::optional<RecordProblem> parse(std::string_view content, Document& document) const {
    if (options.kind == RecordKind::text) {
      JsonRecord record;
      if (auto problem = parse_json_record(content, fields, record)) return problem;
      document = {std::move(record.id), source, std::move(record.text), {}};
      if (is_blank(document.text)) return RecordProblem{DropReason::empty, "the text is empty"};
      return std::nullopt;
    }
    ChatRecord record;
    if (auto problem = parse_chat_record(content, record)) return problem;
    document = {std::move(record.id), source, joined(record.messages), {}};
    document.messages = std::move(record.messages);
    return std::nullopt;
  }

  std::optional<Document> next_record() {
    Document document;
    while (next_line()) {
      std::string_view content = line;
      if (num_lines == 1 && options.begin == 0 && content.starts_with(kByteOrderMark)) content.remove_prefix(3);
      if (content.find_first_not_of(" \t\r") == std::string_view::npos) continue;  // blank lines part records
      ++num_records;
      const std::size_t bad = find_bad_utf8(content);
      if (bad != std::string_view::npos) {
        report(line_number(), DropReason::bad_utf8, text_of("not UTF-8 at byte ", bad + 1));
        continue;
      }
      if (auto problem = parse(content, document)) {
        report(line_number(), problem->reason, std::move(problem->detail));
        continue;
      }
      if (document.id.empty()) document.id = text_of(path, ":", line_number());
      return document;
    }
    finished = true;
    const bool whole_file = options.begin == 0 && options.end == ReaderOptions{}.end;
    if (whole_file && num_records == 0) report(0, DropReason::empty, "the file holds no record");
    return std::nullopt;
  }

  std::optional<Document> whole_file() {
    finished = true;
    const std::unique_ptr<ByteStream> stream = open_byte_stream(path);
    std::string text;
    std::vector<char> buffer(std::size_t{1} << 20);
    while (const std::size_t count = stream->read(buffer.data(), buffer.size())) {
      if (text.size() + count > max_bytes()) {
        report(0, DropReason::too_long, text_of("the file is larger than ", options.max_record_bytes, " bytes"));
        return std::nullopt;
      }
      text.append(buffer.data(), count);
    }
    if (text.starts_with(kByteOrderMark)) text.erase(0, kByteOrderMark.size());
    const std::size_t bad = find_bad_utf8(text);
    if (bad != std::string::npos) {
      const auto at = text.begin() + static_cast<std::ptrdiff_t>(bad);
      report(1 + std::count(text.begin(), at, '\n'), DropReason::bad_utf8,
             text_of("not UTF-8 at byte ", bad + 1, " of the file"));
      return std::nullopt;
    }
    if (is_blank(text)) {
      report(0, DropReason::empty, text.empty() ? "the file is empty" : "the file holds only white space");
      return std::nullopt;
    }
    return Document{text_of(path, ":1"), source, std::move(text), {}};
  }
};

DocumentReader::DocumentReader(const std::string& path, const std::string& source, const std::string& text_field,
                               std::function<void(const Problem&)> on_problem, const ReaderOptions& options)
    : impl_(std::make_unique<Impl>()) {
  impl_->path = path;
  impl_->source = source;
  impl_->fields = split_fields(text_field);
  impl_->on_problem = std::move(on_problem);
  impl_->options = options;
  const std::optional<FileFormat> format = file_format_of(path);
  if (!format) throw DataError("cannot read ", path, ": ", kKnownEndings);
  impl_->format = *format;
  if (options.kind == RecordKind::chat && *format != FileFormat::json_lines)
    throw DataError("cannot read conversations from ", path, ": they stand in .jsonl or .json files, one a line");
  OSLER_CHECK((options.begin == 0 && options.end == ReaderOptions{}.end) || can_be_split(path), path);
  if (impl_->format == FileFormat::json_lines) impl_->open();
}

DocumentReader::~DocumentReader() = default;

std::optional<Document> DocumentReader::next() {
  Impl& self = *impl_;
  if (self.finished) return std::nullopt;
  try {
    return self.format == FileFormat::json_lines ? self.next_record() : self.whole_file();
  } catch (const CorruptArchive& damage) {
    self.finished = true;
    const std::int64_t line = self.format == FileFormat::json_lines ? self.line_number() + 1 : 0;
    self.report(line, DropReason::corrupt, damage.what());
    return std::nullopt;
  }
}

std::int64_t DocumentReader::lines_read() const {
  return impl_->num_lines;
}

}  // namespace osler::text
