// A task: the questions of one benchmark file and the prompt that turns each into a context and its continuations.
// Prompts and names are those of lm-eval 0.4.13 (lm_eval/tasks/{medqa,medmcqa,pubmedqa,mmlu/default}). Local.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/options.hpp"
#include "eval/question.hpp"

namespace osler::eval {

struct Task {
  std::string name;  ///< lm-eval's: "medqa_4options", "mmlu_anatomy"; any other name: generic JSONL
  std::string path;  ///< as given
  std::string file_sha256;
  FileFormat format = FileFormat::generic;
  config::Scoring scoring = config::Scoring::letter;
  std::string description;           ///< stands before the question (MMLU), or empty
  std::string version;               ///< lm-eval's version of the task
  std::vector<std::string> metrics;  ///< "acc", "acc_norm"
  std::vector<Question> questions;   ///< the first `limit`
  std::int64_t num_in_file = 0;
};

/// Reads every task. A group's name stands for its members: mmlu_clinical:FOLDER takes SUBJECT_test.csv or SUBJECT.csv
/// of its six subjects. limit 0: all questions. Throws ConfigError for names that cannot be, DataError for files.
std::vector<Task> load_tasks(const std::vector<config::NamedPath>& named, config::Scoring scoring, std::int64_t limit);

/// letter: the options are listed and the continuation is the option's letter. text: the options are not listed (cloze)
/// and the continuation is the option's text. The context never ends in white space.
std::string prompt_of(const Task& task, const Question& question);
/// What stands for each option: its letter or its text.
std::vector<std::string> choices_of(const Task& task, const Question& question);
/// What is scored after the prompt: a blank and the choice.
std::vector<std::string> continuations_of(const Task& task, const Question& question);
/// The gold answer as lm-eval's samples file shows it: "2", or "yes" for PubMedQA.
std::string target_of(const Task& task, const Question& question);

struct TaskGroup {
  std::string name;
  std::vector<std::string> members;
};
/// mmlu_clinical and multimedqa.
const std::vector<TaskGroup>& task_groups();

}  // namespace osler::eval
