#include "eval/task.hpp"

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/error.hpp"
#include "base/sha256.hpp"
#include "eval/few_shot.hpp"
#include "eval/prompt_library.hpp"
#include "eval/python_text.hpp"
#include "eval/task_groups.hpp"

namespace osler::eval {

namespace {

void require_file_name(const std::string& name) {
  const auto is_plain = [](unsigned char c) { return std::isalnum(c) || c == '_' || c == '-' || c == '.'; };
  if (name.empty() || name[0] == '.' || !std::all_of(name.begin(), name.end(), is_plain))
    throw ConfigError("eval.task: the name \"", name, "\" becomes a file name; use letters, digits, _ - and . only");
}

FileFormat format_of(const std::string& name) {
  if (name == "medqa_4options") return FileFormat::medqa_4_options;
  if (name == "medqa_5options") return FileFormat::medqa_5_options;
  if (name == "medmcqa") return FileFormat::medmcqa;
  if (name == "pubmedqa") return FileFormat::pubmedqa;
  if (name == "usmle" || name.starts_with("usmle_")) return FileFormat::usmle;
  return name.starts_with(kMmluPrefix) ? FileFormat::mmlu : FileFormat::generic;
}

/// Everything that the name decides.
Task describe_task(const std::string& name, const config::EvalOptions& options) {
  require_file_name(name);
  Task task;
  task.name = name;
  task.format = format_of(name);
  task.scoring = options.scoring;
  if (task.format == FileFormat::mmlu) task.subject = mmlu_subject(name);
  task.prompt = load_prompt(options.prompt.empty() ? default_prompt(options) : options.prompt, task.format);
  const bool has_no_version = task.format == FileFormat::medqa_4_options ||
                              task.format == FileFormat::medqa_5_options || task.format == FileFormat::medmcqa;
  task.version = has_no_version ? "Yaml" : "1.0";
  // lm-eval has no acc_norm for PubMedQA and MMLU; a generated answer has no length to divide by.
  const bool plain = task.format == FileFormat::pubmedqa || task.format == FileFormat::mmlu;
  task.metrics = {"acc"};
  if (!options.answers_by_generation() && !(plain && options.scoring == config::Scoring::letter))
    task.metrics.push_back("acc_norm");
  return task;
}

/// Replaces the name of a group of MMLU's subjects by the subjects. Groups of one folder may share some.
std::vector<config::NamedPath> expand_groups(const std::vector<config::NamedPath>& named, const std::string& split) {
  std::vector<config::NamedPath> expanded;
  for (const config::NamedPath& entry : named) {
    if (entry.name == "multimedqa")
      throw ConfigError(
          "eval.task: multimedqa has files of several kinds; name its tasks one by one (medqa_4options, medmcqa, "
          "pubmedqa, mmlu_clinical) and the group is computed");
    const TaskGroup* group = find_mmlu_group(entry.name);
    if (group == nullptr) {
      expanded.push_back(entry);
      continue;
    }
    for (const std::string& member : group->members) {
      const std::string stem = entry.path + "/" + member.substr(kMmluPrefix.size());
      const std::string with_split = stem + "_" + split + ".csv";
      const std::string path = std::filesystem::exists(with_split) ? with_split : stem + ".csv";
      const auto is_same = [&](const config::NamedPath& other) { return other.name == member && other.path == path; };
      if (std::none_of(expanded.begin(), expanded.end(), is_same)) expanded.push_back({member, path});
    }
  }
  return expanded;
}

void require_option_texts(const Task& task) {
  for (const Question& question : task.questions)
    for (const std::string& option : question.options)
      if (strip(option).empty())
        throw DataError(task.path, ":", question.line,
                        ": an option is blank, so its text cannot be scored; use eval.scoring=letter");
}

Task load_task(const config::NamedPath& entry, const config::EvalOptions& options) {
  Task task = describe_task(entry.name, options);
  task.path = entry.path;
  task.questions = read_questions(task.format, task.path);
  task.file_sha256 = sha256_hex_of_file(task.path);
  task.num_in_file = static_cast<std::int64_t>(task.questions.size());
  if (options.scoring == config::Scoring::text) require_option_texts(task);
  return task;
}

void load_train(std::vector<Task>& tasks, const std::vector<config::NamedPath>& named) {
  for (const config::NamedPath& entry : named) {
    const auto task =
        std::find_if(tasks.begin(), tasks.end(), [&](const Task& each) { return each.name == entry.name; });
    if (task == tasks.end())
      throw ConfigError("eval.train: ", entry.name, " is no task of this evaluation; it takes the name of one in ",
                        "eval.task, whose file format it shares");
    task->train_path = entry.path;
    task->train = read_questions(task->format, entry.path);
    task->train_sha256 = sha256_hex_of_file(entry.path);
  }
}

}  // namespace

std::string default_prompt(const config::EvalOptions& options) {
  using config::Strategy;
  if (!options.answers_by_generation()) return "lm-eval";
  if (options.strategy == Strategy::zero_shot) return "zero-shot";
  if (options.strategy == Strategy::few_shot) return "few-shot";
  return options.strategy == Strategy::medprompt && !options.medprompt_cot ? "few-shot" : "cot";
}

std::vector<Task> load_tasks(const config::EvalOptions& options) {
  if (options.task.empty()) throw ConfigError("eval.task: name at least one task as NAME:PATH");
  std::vector<Task> tasks;
  std::set<std::string> names;
  for (const config::NamedPath& entry : expand_groups(options.task, "test")) {
    if (!names.insert(entry.name).second) throw ConfigError("eval.task: ", entry.name, " is named twice");
    tasks.push_back(load_task(entry, options));
  }
  load_train(tasks, expand_groups(options.train, "dev"));
  leave_out_evaluated(tasks);
  for (Task& task : tasks) {
    if (options.limit > 0 && options.limit < task.num_in_file)
      task.questions.resize(static_cast<std::size_t>(options.limit));
    if (options.strategy == config::Strategy::medprompt)
      require_train(task, options);
    else
      choose_shots(task, options);
  }
  return tasks;
}

}  // namespace osler::eval
