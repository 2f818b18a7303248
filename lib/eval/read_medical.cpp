// MedQA, MedMCQA and PubMedQA as their authors publish them.
#include <algorithm>
#include <array>

#include "eval/json_record.hpp"
#include "eval/question_readers.hpp"

namespace osler::eval {

namespace {

/// "C" -> 2; fails on anything but one of the letters of `num_options` options.
std::int64_t index_of_letter(const JsonRecord& record, const std::string& key, std::size_t num_options) {
  const std::string& letter = record.text(key);
  const auto index = static_cast<std::size_t>(letter[0]) - 'A';
  if (letter.size() != 1 || index >= num_options)
    record.fail("\"", key, "\" must be one of A to ", letter_of(static_cast<std::int64_t>(num_options) - 1));
  return static_cast<std::int64_t>(index);
}

Question question_of(const JsonRecord& record, std::size_t number) {
  Question question;
  question.id = std::to_string(number);
  question.text = record.text("question");
  question.record = record.json().dump();
  question.line = record.line();
  return question;
}

/// {question, options, answer_idx, answer?}: MedQA's own form, in which MedMCQA circulates too.
Question question_with_letter(const JsonRecord& record, std::size_t number, std::size_t num_options) {
  Question question = question_of(record, number);
  question.options = record.options("options");
  if (num_options > 0 && question.options.size() != num_options)
    record.fail("\"options\" holds ", question.options.size(), " options, this task has ", num_options);
  question.gold = index_of_letter(record, "answer_idx", question.options.size());
  if (record.has("answer") && record.option_text("answer") != question.options[static_cast<std::size_t>(question.gold)])
    record.fail("\"answer\" is not the text of option ", letter_of(question.gold), ", which \"answer_idx\" names");
  return question;
}

/// MedMCQA counts the correct option from 0 (Hugging Face) or from 1 (the authors' files): the file as a whole tells.
std::int64_t first_option_number(const std::vector<JsonRecord>& records, const std::string& file) {
  std::int64_t lowest = 4;
  std::int64_t highest = 0;
  for (const JsonRecord& record : records) {
    if (!record.has("cop")) continue;
    const Json& cop = record.at("cop");
    if (!cop.is_number_integer()) record.fail("\"cop\" must be an integer, not a ", cop.type_name());
    const auto value = cop.get<std::int64_t>();
    if (value < 0 || value > 4)
      record.fail("\"cop\" is ", value, "; 0 to 3 or 1 to 4 is expected (the test split has no answers)");
    lowest = std::min(lowest, value);
    highest = std::max(highest, value);
    if (lowest == 0 && highest == 4)
      record.fail("\"cop\" is ", value, ", but the file counts from ", value == 4 ? 0 : 1, " before this line");
  }
  if (lowest > 0 && highest < 4 && highest > 0)
    throw DataError(file, ":", records.front().line(),
                    ": \"cop\" is never 0 and never 4, so it cannot be told whether the file counts "
                    "options from 0 or from 1; give \"answer_idx\" letters and \"options\" instead");
  return lowest == 0 ? 0 : 1;
}

}  // namespace

std::vector<Question> read_medqa(std::string_view text, const std::string& file, std::size_t num_options) {
  std::vector<Question> questions;
  for (const JsonRecord& record : read_json_lines(text, file))
    questions.push_back(question_with_letter(record, questions.size(), num_options));
  return questions;
}

std::vector<Question> read_medmcqa(std::string_view text, const std::string& file) {
  constexpr std::array kOptionKeys = {"opa", "opb", "opc", "opd"};
  const std::vector<JsonRecord> records = read_json_lines(text, file);
  const std::int64_t first = first_option_number(records, file);
  std::vector<Question> questions;
  for (const JsonRecord& record : records) {
    if (record.has("options")) {
      questions.push_back(question_with_letter(record, questions.size(), 4));
      continue;
    }
    Question question = question_of(record, questions.size());
    if (record.has("id")) question.id = record.text("id");
    for (const char* key : kOptionKeys) question.options.push_back(record.option_text(key));
    if (!record.has("cop")) record.fail("the field \"cop\" (correct option) is missing");
    question.gold = record.at("cop").get<std::int64_t>() - first;
    if (record.has("exp")) question.rationale = record.option_text("exp");
    if (record.has("subject_name")) question.subject = record.option_text("subject_name");
    questions.push_back(std::move(question));
  }
  return questions;
}

std::vector<Question> read_pubmedqa(std::string_view text, const std::string& file) {
  const Json whole = parse_json(text, file, 1);
  if (!whole.is_object() || whole.empty())
    throw DataError(file, ":1: one JSON object, PubMed id to question, is expected (ori_pqal.json)");
  std::vector<Question> questions;
  std::size_t searched = 0;
  for (const auto& [id, value] : whole.items()) {
    // Keys come in file order: each is found after the one before it.
    const std::size_t at = text.find('"' + id + '"', searched);
    searched = at == std::string_view::npos ? searched : at;
    const std::int64_t line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(searched), '\n');
    const JsonRecord record(value, file, line);
    Question question;
    question.id = id;
    question.text = record.text("QUESTION");
    question.context = record.texts("CONTEXTS");
    question.options = {"yes", "no", "maybe"};
    const std::string& decision = record.text("final_decision");
    const auto found = std::find(question.options.begin(), question.options.end(), decision);
    if (found == question.options.end()) record.fail("\"final_decision\" must be yes, no or maybe");
    question.gold = found - question.options.begin();
    if (record.has("LONG_ANSWER")) question.rationale = record.option_text("LONG_ANSWER");
    question.record = record.json().dump();
    question.line = line;
    questions.push_back(std::move(question));
  }
  return questions;
}

}  // namespace osler::eval
