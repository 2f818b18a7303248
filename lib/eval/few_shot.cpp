#include "eval/few_shot.hpp"

#include <cctype>
#include <numeric>
#include <set>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/sha256.hpp"
#include "eval/python_random.hpp"
#include "eval/python_text.hpp"

namespace osler::eval {

namespace {

bool shows_reasoning(const config::EvalOptions& options) {
  return options.strategy == config::Strategy::cot || options.strategy == config::Strategy::cot_sc;
}

/// The questions that may be exemplars, as indices into task.train.
std::vector<std::size_t> candidates_of(const Task& task, const config::EvalOptions& options) {
  std::vector<std::size_t> candidates;
  for (std::size_t i = 0; i < task.train.size(); ++i)
    if (!shows_reasoning(options) || !strip(task.train[i].rationale).empty()) candidates.push_back(i);
  return candidates;
}

}  // namespace

std::string question_hash(std::string_view text) {
  std::string plain;
  bool is_gap = false;
  for (const char c : strip(text)) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isspace(byte)) {
      is_gap = true;
      continue;
    }
    if (is_gap) plain += ' ';
    is_gap = false;
    plain += static_cast<char>(std::tolower(byte));
  }
  return sha256_hex(plain);
}

void leave_out_evaluated(std::vector<Task>& tasks) {
  bool has_train = false;
  for (const Task& task : tasks) has_train = has_train || !task.train.empty();
  if (!has_train) return;
  std::set<std::string> evaluated;
  for (const Task& task : tasks)
    for (const Question& question : task.questions) evaluated.insert(question_hash(question.text));
  for (Task& task : tasks) {
    const auto num_left_out = std::erase_if(
        task.train, [&](const Question& question) { return evaluated.contains(question_hash(question.text)); });
    task.num_train_left_out = static_cast<std::int64_t>(num_left_out);
    if (num_left_out > 0)
      log::warning("evaluate: ", task.name, ": ", num_left_out, " questions of ", task.train_path,
                   " stand in an evaluated file too and are no exemplars");
  }
}

void choose_shots(Task& task, const config::EvalOptions& options) {
  const auto num_shots = static_cast<std::size_t>(options.num_shots());
  task.shots.assign(task.questions.size(), {});
  if (num_shots == 0 || !options.responses.empty()) return;
  require_train(task, options);
  const std::vector<std::size_t> candidates = candidates_of(task, options);
  PythonRandom random(options.seed);
  for (std::vector<std::size_t>& shots : task.shots) {
    std::vector<std::size_t> drawn(num_shots);
    std::iota(drawn.begin(), drawn.end(), std::size_t{0});
    if (task.format != FileFormat::mmlu) drawn = random.sample(candidates.size(), num_shots);
    for (const std::size_t i : drawn) shots.push_back(candidates[i]);
  }
}

void require_train(const Task& task, const config::EvalOptions& options) {
  const auto num_shots = static_cast<std::size_t>(options.num_shots());
  if (num_shots == 0 || !options.responses.empty()) return;
  if (task.train_path.empty())
    throw ConfigError("eval.train: ", task.name, " has no training split, but ", num_shots,
                      " exemplars are asked for; name it as ", task.name, ":PATH");
  const std::size_t num_candidates = candidates_of(task, options).size();
  if (num_candidates < num_shots)
    throw DataError(task.train_path, ": only ", num_candidates, " questions can be exemplars",
                    shows_reasoning(options) ? " (a rationale is needed)" : "", ", ", num_shots, " are asked for");
}

}  // namespace osler::eval
