#include "eval/question.hpp"

#include <algorithm>
#include <filesystem>

#include "base/error.hpp"
#include "base/publish.hpp"
#include "eval/question_readers.hpp"
#include "text/utf8.hpp"

namespace osler::eval {

std::string letter_of(std::int64_t index) {
  return std::string(1, static_cast<char>('A' + index));
}

std::vector<Question> read_questions(FileFormat format, const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored))
    throw DataError(path, ":0: not found, or not a file; eval.task takes NAME:PATH with the benchmark's own file");
  const std::string bytes = read_file(path);
  std::string_view content = bytes;
  if (content.starts_with("\xEF\xBB\xBF")) content.remove_prefix(3);
  if (const std::size_t bad = text::find_bad_utf8(content); bad != std::string_view::npos)
    throw DataError(path, ":",
                    1 + std::count(content.begin(), content.begin() + static_cast<std::ptrdiff_t>(bad), '\n'),
                    ": not valid UTF-8; convert the file");
  switch (format) {
    case FileFormat::medqa_4_options:
      return read_medqa(content, path, 4);
    case FileFormat::medqa_5_options:
      return read_medqa(content, path, 5);
    case FileFormat::usmle:
      return read_medqa(content, path, 0);
    case FileFormat::medmcqa:
      return read_medmcqa(content, path);
    case FileFormat::pubmedqa:
      return read_pubmedqa(content, path);
    case FileFormat::mmlu:
      return read_mmlu(content, path);
    case FileFormat::generic:
      return read_generic(content, path);
  }
  throw InternalError("unknown benchmark format");
}

}  // namespace osler::eval
