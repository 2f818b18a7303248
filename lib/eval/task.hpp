// A task: the questions of one benchmark file, its training split, and the prompt that puts them. Names are those of
// lm-eval 0.4.13 (lm_eval/tasks/{medqa,medmcqa,pubmedqa,mmlu/default}). Local.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "config/options.hpp"
#include "eval/prompt_template.hpp"
#include "eval/question.hpp"

namespace osler::eval {

struct Task {
  std::string name;  ///< lm-eval's: "medqa_4options", "mmlu_anatomy"; "usmle" and "usmle_..."; else generic JSONL
  std::string path;  ///< as given
  std::string file_sha256;
  FileFormat format = FileFormat::generic;
  config::Scoring scoring = config::Scoring::letter;
  std::string subject;  ///< of MMLU: "college medicine"
  PromptTemplate prompt;
  std::string version;               ///< lm-eval's version of the task
  std::vector<std::string> metrics;  ///< "acc", "acc_norm"
  std::vector<Question> questions;   ///< the first `limit`
  std::int64_t num_in_file = 0;

  std::string train_path;  ///< empty without eval.train
  std::string train_sha256;
  std::vector<Question> train;                  ///< without the questions of any evaluated file
  std::int64_t num_train_left_out = 0;          ///< those
  std::vector<std::vector<std::size_t>> shots;  ///< by item: fixed exemplars, indices into train, in prompt order
};

/// Reads every task with its training split. A group's name stands for its members: mmlu_clinical:FOLDER takes
/// SUBJECT_test.csv or SUBJECT.csv of its subjects (of training splits SUBJECT_dev.csv or SUBJECT.csv). Throws
/// ConfigError for names that cannot be, DataError for files.
std::vector<Task> load_tasks(const config::EvalOptions& options);

/// The built-in prompt of a strategy when eval.prompt is empty.
std::string default_prompt(const config::EvalOptions& options);

}  // namespace osler::eval
