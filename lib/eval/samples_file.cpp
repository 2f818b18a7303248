#include "eval/samples_file.hpp"

#include "base/sha256.hpp"
#include "eval/ask.hpp"
#include "eval/json_record.hpp"
#include "eval/prompt.hpp"

namespace osler::eval {

namespace {

/// The prompts that the model was given for an item; none for responses that were recorded elsewhere.
std::vector<std::string> asked(const Task& task, std::size_t item, const ItemScore& score,
                               const config::EvalOptions& options) {
  if (!options.responses.empty()) return {};
  if (!options.answers_by_generation()) return {prompt_of(task, item)};
  const bool chosen = options.strategy == config::Strategy::medprompt;
  return prompts_of(task, task.questions[item], chosen ? score.result.exemplars : shots_of(task, item), options);
}

Json letter_or_null(const std::optional<std::int64_t>& index) {
  return index ? Json(letter_of(*index)) : Json(nullptr);
}

void add_likelihoods(const Task& task, const Question& question, const std::string& prompt, const ItemScore& score,
                     Json& row) {
  const std::vector<std::string> continuations = continuations_of(task, question);
  for (std::size_t i = 0; i < continuations.size(); ++i) {
    row["arguments"]["gen_args_" + std::to_string(i)] = {{"arg_0", prompt}, {"arg_1", continuations[i]}};
    // lm-eval writes numbers and truth values as Python's str().
    const auto& choice = score.result.choices[i];
    const Json pair = {Json(choice.log_likelihood).dump(), choice.is_greedy ? "True" : "False"};
    row["resps"].push_back(Json::array({pair}));
    row["filtered_resps"].push_back(pair);
  }
}

Json vote_json(const Question& question, const Vote& vote) {
  Json letters = Json::object();
  for (std::size_t i = 0; i < question.options.size(); ++i)
    letters[letter_of(static_cast<std::int64_t>(i))] =
        letter_of(vote.order.empty() ? static_cast<std::int64_t>(i) : vote.order[i]);
  return {{"answer", letter_or_null(vote.shown)},
          {"option", letter_or_null(vote.option)},
          {"letters", std::move(letters)},
          {"order", vote.order},
          {"log_prob", vote.log_prob},
          {"finish", vote.finish}};
}

/// One argument per prompt; a prompt's samples stand together in `resps`.
void add_texts(const Task& task, const Question& question, const std::vector<std::string>& prompts,
               const config::EvalOptions& options, const ItemScore& score, Json& row) {
  const bool samples = options.strategy == config::Strategy::cot_sc;
  for (std::size_t p = 0; p < prompts.size(); ++p)
    row["arguments"]["gen_args_" + std::to_string(p)] = {{"arg_0", prompts[p]},
                                                         {"arg_1",
                                                          {{"until", task.prompt.stops()},
                                                           {"max_gen_toks", options.max_new_tokens},
                                                           {"do_sample", samples},
                                                           {"temperature", samples ? options.temperature : 0.0}}}};
  const std::vector<Vote>& votes = score.result.votes;
  const bool together = prompts.size() == 1;
  for (const Vote& vote : votes) {
    if (together && !row["resps"].empty())
      row["resps"].back().push_back(vote.response);
    else
      row["resps"].push_back(Json::array({vote.response}));
    row["votes"].push_back(vote_json(question, vote));
  }
  row["filtered_resps"].push_back(score.prediction
                                      ? choices_of(task, question)[static_cast<std::size_t>(*score.prediction)]
                                      : std::string("[invalid]"));
  row["tied"] = score.election.is_tied;
  row["num_votes"] = score.election.num_votes;
}

Json sample_row(const Task& task, std::size_t number, const ItemScore& score, const config::EvalOptions& options) {
  const Question& question = task.questions[number];
  const std::vector<std::string> prompts = asked(task, number, score, options);
  Json row = {{"doc_id", number},
              {"doc", Json::parse(question.record)},
              {"target", target_of(task, question)},
              {"arguments", Json::object()},
              {"resps", Json::array()},
              {"filtered_resps", Json::array()}};
  if (score.result.votes.empty())
    add_likelihoods(task, question, prompts.front(), score, row);
  else
    add_texts(task, question, prompts, options, score, row);
  const SampleHashes hashes = hash_sample(task, number, score, options);
  row["filter"] = "none";
  row["metrics"] = task.metrics;
  row["doc_hash"] = hashes.doc;
  row["prompt_hash"] = hashes.prompt;
  row["target_hash"] = hashes.target;
  for (const std::string& metric : task.metrics) row[metric] = metric == "acc" ? score.acc : score.acc_norm;
  row["id"] = question.id;
  row["question_sha256"] = sha256_hex(question.text);
  row["prediction"] = letter_or_null(score.prediction);
  row["gold"] = letter_of(question.gold);
  for (const Exemplar& exemplar : score.result.exemplars)
    row["exemplars"].push_back({{"id", exemplar.question->id},
                                {"question_sha256", sha256_hex(exemplar.question->text)},
                                {"rationale", exemplar.rationale}});
  return row;
}

}  // namespace

SampleHashes hash_sample(const Task& task, std::size_t item, const ItemScore& score,
                         const config::EvalOptions& options) {
  const Question& question = task.questions[item];
  const std::vector<std::string> prompts = asked(task, item, score, options);
  return {sha256_hex(Json::parse(question.record).dump(2)), sha256_hex(prompts.empty() ? "" : prompts.front()),
          sha256_hex(target_of(task, question))};
}

std::string samples_text(const Task& task, const TaskScore& score, const config::EvalOptions& options) {
  std::string text;
  for (std::size_t i = 0; i < task.questions.size(); ++i)
    text += sample_row(task, i, score.items[i], options).dump() + "\n";
  return text;
}

}  // namespace osler::eval
