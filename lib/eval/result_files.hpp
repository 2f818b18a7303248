// The files of one evaluation. results.json and samples_<task>.jsonl have the shape of lm-eval's, so that its viewers
// and table maker read them; scores.csv and scores.h5 hold one row per task and metric for analysis/. Every file is
// published atomically, results.json last: an evaluation is complete if and only if it is there. One rank calls.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "config/options.hpp"
#include "eval/task_score.hpp"

namespace osler::eval {

/// What was evaluated, how and by what: stamped into every file.
struct RunIdentity {
  std::string model;       ///< as given: directory of weights, checkpoint or run
  std::string checkpoint;  ///< what that resolved to
  std::int64_t tokens_seen = 0;
  bool is_fine_tuned = false;
  double neftune_alpha = 0;
  std::string dtype;
  std::string device;
  std::string tokenizer_sha256;
  int num_ranks = 1;
  config::EvalOptions options;
  std::string config;  ///< resolved INI
  std::string config_hash;
  std::string evaluation_key;  ///< of configuration, model, prompts, files and program: equal keys, equal results
  std::string build;           ///< version and revision
  std::string date;            ///< UTC, start
  double start_unix_s = 0;     ///< the same in seconds since 1970, as lm-eval notes it
  double elapsed_s = 0;
};

constexpr std::int64_t kScoresSchemaVersion = 1;

/// The scores of an evaluation: one per task, of parts of tasks (score tables only), and of groups.
struct Scores {
  std::vector<TaskScore> tasks;
  std::vector<TaskScore> parts;
  std::vector<TaskScore> groups;
};

/// Throws StorageError.
void write_result_files(const std::string& folder, const RunIdentity& identity, const std::vector<Task>& tasks,
                        const Scores& scores);

/// The text of results.json; `sums` of the files beside it (eval/result_sums.hpp).
std::string results_text(const RunIdentity& identity, const std::vector<Task>& tasks, const Scores& scores,
                         const std::map<std::string, std::string>& sums = {});
/// What a finished evaluation's results.json says of itself; fields that it lacks are empty.
struct Finished {
  std::string evaluation_key;
  std::string config;
  std::string checkpoint;
};
/// nullopt when there is none in the folder, or not one of ours.
std::optional<Finished> finished_evaluation(const std::string& folder);

/// The aligned table for people: task (and part), metric, value, standard error, interval, n, unparsed.
std::string score_table(const Scores& scores);

}  // namespace osler::eval
