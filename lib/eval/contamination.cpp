#include "eval/contamination.hpp"

#include <filesystem>

#include "base/error.hpp"
#include "base/publish.hpp"
#include "base/sha256.hpp"
#include "eval/json_record.hpp"
#include "eval/python_text.hpp"

namespace osler::eval {

std::vector<bool> read_touched(const Task& task, const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored))
    throw DataError(path, ":0: not found, or not a file; eval.contamination takes NAME:PATH with a report of tokenize");
  std::vector<bool> touched(task.questions.size());
  const std::string text = read_file(path);
  if (strip(text).empty()) return touched;
  for (const JsonRecord& record : read_json_lines(text, path)) {
    const Json& item = record.at("item");
    if (!item.is_number_unsigned() || item.get<std::int64_t>() >= task.num_in_file)
      record.fail("\"item\" must be a number from 0 to ", task.num_in_file - 1, ", that of a question in ", task.path);
    const auto index = item.get<std::size_t>();
    if (index >= touched.size()) continue;  // beyond eval.limit
    if (record.text("question_sha256") != sha256_hex(task.questions[index].text))
      record.fail("the sum is not that of question ", index, " of ", task.path, "; the report is about another file");
    touched[index] = true;
  }
  return touched;
}

}  // namespace osler::eval
