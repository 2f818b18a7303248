#include "eval/samples_file.hpp"

#include "base/sha256.hpp"
#include "eval/json_record.hpp"
#include "eval/prompt.hpp"
#include "eval/result_files.hpp"

namespace osler::eval {

namespace {

Json sample_row(const Task& task, const ItemScore& item, std::size_t number) {
  const Question& question = task.questions[number];
  const std::vector<std::string> continuations = continuations_of(task, question);
  const std::string prompt = prompt_of(task, number);
  Json arguments = Json::object();
  Json responses = Json::array();
  Json filtered = Json::array();
  for (std::size_t i = 0; i < continuations.size(); ++i) {
    arguments["gen_args_" + std::to_string(i)] = {{"arg_0", prompt}, {"arg_1", continuations[i]}};
    // lm-eval writes numbers and truth values as Python's str().
    const Json pair = {Json(item.choices[i].log_likelihood).dump(), item.choices[i].is_greedy ? "True" : "False"};
    responses.push_back(Json::array({pair}));
    filtered.push_back(pair);
  }
  const SampleHashes hashes = hash_sample(task, number);
  Json row = {{"doc_id", number},
              {"doc", Json::parse(question.record)},
              {"target", target_of(task, question)},
              {"arguments", std::move(arguments)},
              {"resps", std::move(responses)},
              {"filtered_resps", std::move(filtered)},
              {"filter", "none"},
              {"metrics", task.metrics},
              {"doc_hash", hashes.doc},
              {"prompt_hash", hashes.prompt},
              {"target_hash", hashes.target}};
  for (const std::string& metric : task.metrics) row[metric] = metric == "acc" ? item.acc : item.acc_norm;
  row["id"] = question.id;
  row["prediction"] = letter_of(item.prediction);
  row["gold"] = letter_of(question.gold);
  return row;
}

}  // namespace

SampleHashes hash_sample(const Task& task, std::size_t item) {
  const Question& question = task.questions[item];
  return {sha256_hex(Json::parse(question.record).dump(2)), sha256_hex(prompt_of(task, item)),
          sha256_hex(target_of(task, question))};
}

std::string samples_text(const Task& task, const TaskScore& score) {
  std::string text;
  for (std::size_t i = 0; i < task.questions.size(); ++i) text += sample_row(task, score.items[i], i).dump() + "\n";
  return text;
}

}  // namespace osler::eval
