// MMLU's CSV and our own generic JSONL.
#include <algorithm>
#include <cctype>
#include <map>

#include "eval/csv.hpp"
#include "eval/json_record.hpp"
#include "eval/python_text.hpp"
#include "eval/question_readers.hpp"

namespace osler::eval {

namespace {

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

bool is_mmlu_header(const CsvRow& row) {
  const std::string first = lower(row.fields.front());
  const std::string last = lower(row.fields.back());
  return (first == "question" || first == "input") && (last == "answer" || last == "target");
}

/// "C" -> 2 or "2" -> 2, -1 for anything else. `counts` says which of the two the file uses.
std::int64_t mmlu_answer(const std::string& cell, bool counts) {
  const char first = counts ? '0' : 'A';
  return cell.size() == 1 && cell[0] >= first && cell[0] < first + 4 ? cell[0] - first : -1;
}

std::int64_t generic_answer(const JsonRecord& record, const std::vector<std::string>& options) {
  const auto num_options = static_cast<std::int64_t>(options.size());
  const Json& answer = record.at("answer");
  if (answer.is_number_integer()) {
    const auto index = answer.get<std::int64_t>();
    if (index < 0 || index >= num_options)
      record.fail("\"answer\" is ", index, "; indices count from 0 and there are ", num_options, " options");
    return index;
  }
  const std::string& text = record.text("answer");
  const std::int64_t letter = text.size() == 1 && text[0] >= 'A' && text[0] < 'A' + num_options ? text[0] - 'A' : -1;
  const auto found = std::find(options.begin(), options.end(), text);
  const std::int64_t index = found == options.end() ? -1 : found - options.begin();
  if (letter < 0 && index < 0) record.fail("\"answer\" is neither a letter of an option nor the text of one");
  if (letter >= 0 && index >= 0 && letter != index)
    record.fail("\"answer\" is the letter of one option and the text of another; give its index");
  if (letter < 0 && std::count(options.begin(), options.end(), text) > 1)
    record.fail("\"answer\" is the text of two options; give its letter");
  return letter >= 0 ? letter : index;
}

}  // namespace

std::vector<Question> read_mmlu(std::string_view text, const std::string& file) {
  constexpr std::size_t kColumns = 6;
  const std::vector<CsvRow> rows = parse_csv(text, file);
  std::vector<Question> questions;
  bool counts = false;
  for (const CsvRow& row : rows) {
    const auto fail = [&](const auto&... what) { throw DataError(file, ":", row.line, ": ", what...); };
    if (row.fields.size() != kColumns)
      fail(row.fields.size(), " columns, ", kColumns, " are expected: question, four options, answer");
    if (&row == &rows.front() && is_mmlu_header(row)) continue;
    const std::string& answer = row.fields[5];
    if (questions.empty()) counts = mmlu_answer(answer, true) >= 0;
    Question question;
    question.id = std::to_string(questions.size());
    question.text = row.fields[0];
    if (strip(question.text).empty()) fail("the question is blank");
    question.options.assign(row.fields.begin() + 1, row.fields.begin() + 5);
    question.gold = mmlu_answer(answer, counts);
    if (question.gold < 0)
      fail("the answer in the last column: ", counts ? "0 to 3" : "A to D", " is expected, as in the rows before");
    question.record =
        Json{{"question", question.text}, {"choices", question.options}, {"answer", question.gold}}.dump();
    question.line = row.line;
    questions.push_back(std::move(question));
  }
  if (questions.empty()) throw DataError(file, ":1: the file holds no question");
  return questions;
}

std::vector<Question> read_generic(std::string_view text, const std::string& file) {
  std::vector<Question> questions;
  std::map<std::string, std::int64_t> line_of_id;
  for (const JsonRecord& record : read_json_lines(text, file)) {
    Question question;
    const Json& id = record.at("id");
    question.id = id.is_number_integer() ? id.dump() : record.text("id");
    if (const auto [seen, is_new] = line_of_id.try_emplace(question.id, record.line()); !is_new)
      record.fail("the id stands already on line ", seen->second);
    question.text = record.text("question");
    question.options = record.options("options");
    question.gold = generic_answer(record, question.options);
    if (record.has("context")) {
      if (record.at("context").is_array())
        question.context = record.texts("context");
      else
        question.context = {record.text("context")};
    }
    if (record.has("rationale")) question.rationale = record.option_text("rationale");
    if (record.has("subject")) question.subject = record.option_text("subject");
    question.record = record.json().dump();
    question.line = record.line();
    questions.push_back(std::move(question));
  }
  return questions;
}

}  // namespace osler::eval
