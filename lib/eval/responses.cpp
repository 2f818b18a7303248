#include "eval/responses.hpp"

#include <algorithm>
#include <filesystem>

#include "base/error.hpp"
#include "base/publish.hpp"
#include "base/sha256.hpp"

namespace osler::eval {

namespace {

std::vector<std::string> texts_of(const JsonRecord& record) {
  const Json& responses = record.at("resps");
  std::vector<std::string> texts;
  const auto add = [&](const Json& entry) {
    if (!entry.is_string()) record.fail("\"resps\" holds a ", entry.type_name(), " where a generated text is expected");
    texts.push_back(entry.get<std::string>());
  };
  if (!responses.is_array() || responses.empty()) record.fail("\"resps\" must be a list with at least one text");
  for (const Json& entry : responses) {
    if (!entry.is_array()) {
      add(entry);
      continue;
    }
    for (const Json& text : entry) add(text);
  }
  return texts;
}

/// Whether every number from 0 to size - 1 stands once in `order`.
bool is_permutation_of(const OptionOrder& order, std::size_t size) {
  std::vector<bool> seen(size);
  for (const std::int64_t index : order) {
    if (index < 0 || index >= static_cast<std::int64_t>(size) || seen[static_cast<std::size_t>(index)]) return false;
    seen[static_cast<std::size_t>(index)] = true;
  }
  return order.size() == size;
}

void add_recorded(const JsonRecord& record, std::size_t num_options, std::vector<Vote>& votes) {
  if (!record.has("votes")) return;
  const Json& recorded = record.at("votes");
  if (!recorded.is_array() || recorded.size() != votes.size())
    record.fail("\"votes\" does not hold one entry per response");
  for (std::size_t v = 0; v < votes.size(); ++v) {
    try {
      votes[v].order = recorded[v].at("order").get<OptionOrder>();
      votes[v].finish = recorded[v].at("finish").get<std::string>();
      votes[v].log_prob = recorded[v].at("log_prob").get<double>();
    } catch (const Json::exception&) {
      record.fail("\"votes\" entry ", v, " lacks order, finish or log_prob");
    }
    if (!votes[v].order.empty() && !is_permutation_of(votes[v].order, num_options))
      record.fail("\"votes\" entry ", v, ": the order is none of ", num_options, " options");
  }
}

}  // namespace

std::vector<ItemResult> read_responses(const Task& task, const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored))
    throw DataError(path, ":0: not found, or not a file; eval.responses takes NAME:PATH with a samples file");
  std::vector<ItemResult> results(task.questions.size());
  for (const JsonRecord& record : read_json_lines(read_file(path), path)) {
    const Json& doc_id = record.at("doc_id");
    if (!doc_id.is_number_unsigned() || doc_id.get<std::int64_t>() >= task.num_in_file)
      record.fail("\"doc_id\" must be a number from 0 to ", task.num_in_file - 1);
    const auto index = doc_id.get<std::size_t>();
    if (index >= results.size()) continue;  // beyond eval.limit
    if (!results[index].votes.empty()) record.fail("item ", index, " has a row already");
    const Question& question = task.questions[index];
    if (record.has("question_sha256") && record.text("question_sha256") != sha256_hex(question.text))
      record.fail("the responses are to another question than item ", index, " of ", task.path);
    for (std::string& text : texts_of(record)) {
      results[index].votes.emplace_back();
      results[index].votes.back().response = std::move(text);
    }
    add_recorded(record, question.options.size(), results[index].votes);
  }
  const auto missing =
      std::find_if(results.begin(), results.end(), [](const auto& each) { return each.votes.empty(); });
  if (missing != results.end())
    throw DataError(path, ": no row for item ", missing - results.begin(), " of ", task.name);
  return results;
}

}  // namespace osler::eval
