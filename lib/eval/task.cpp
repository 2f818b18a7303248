#include "eval/task.hpp"

#include <algorithm>
#include <array>
#include <filesystem>
#include <set>
#include <string_view>

#include "base/error.hpp"
#include "base/sha256.hpp"
#include "eval/python_text.hpp"

namespace osler::eval {

namespace {

constexpr std::string_view kMmluPrefix = "mmlu_";

// A typing mistake in a subject would silently change the prompt, so only MMLU's own are accepted.
constexpr std::array<std::string_view, 57> kMmluSubjects = {"abstract_algebra",
                                                            "anatomy",
                                                            "astronomy",
                                                            "business_ethics",
                                                            "clinical_knowledge",
                                                            "college_biology",
                                                            "college_chemistry",
                                                            "college_computer_science",
                                                            "college_mathematics",
                                                            "college_medicine",
                                                            "college_physics",
                                                            "computer_security",
                                                            "conceptual_physics",
                                                            "econometrics",
                                                            "electrical_engineering",
                                                            "elementary_mathematics",
                                                            "formal_logic",
                                                            "global_facts",
                                                            "high_school_biology",
                                                            "high_school_chemistry",
                                                            "high_school_computer_science",
                                                            "high_school_european_history",
                                                            "high_school_geography",
                                                            "high_school_government_and_politics",
                                                            "high_school_macroeconomics",
                                                            "high_school_mathematics",
                                                            "high_school_microeconomics",
                                                            "high_school_physics",
                                                            "high_school_psychology",
                                                            "high_school_statistics",
                                                            "high_school_us_history",
                                                            "high_school_world_history",
                                                            "human_aging",
                                                            "human_sexuality",
                                                            "international_law",
                                                            "jurisprudence",
                                                            "logical_fallacies",
                                                            "machine_learning",
                                                            "management",
                                                            "marketing",
                                                            "medical_genetics",
                                                            "miscellaneous",
                                                            "moral_disputes",
                                                            "moral_scenarios",
                                                            "nutrition",
                                                            "philosophy",
                                                            "prehistory",
                                                            "professional_accounting",
                                                            "professional_law",
                                                            "professional_medicine",
                                                            "professional_psychology",
                                                            "public_relations",
                                                            "security_studies",
                                                            "sociology",
                                                            "us_foreign_policy",
                                                            "virology",
                                                            "world_religions"};

std::string subject_text(const std::string& task_name) {
  std::string subject = task_name.substr(kMmluPrefix.size());
  if (std::find(kMmluSubjects.begin(), kMmluSubjects.end(), subject) == kMmluSubjects.end())
    throw ConfigError("eval.task: \"", subject, "\" in ", task_name,
                      " is not one of MMLU's 57 subjects, e.g. mmlu_college_medicine");
  std::replace(subject.begin(), subject.end(), '_', ' ');
  return subject;
}

void require_file_name(const std::string& name) {
  const auto is_plain = [](unsigned char c) { return std::isalnum(c) || c == '_' || c == '-' || c == '.'; };
  if (name.empty() || name[0] == '.' || !std::all_of(name.begin(), name.end(), is_plain))
    throw ConfigError("eval.task: the name \"", name, "\" becomes a file name; use letters, digits, _ - and . only");
}

/// Everything that the name decides.
Task describe_task(const std::string& name, config::Scoring scoring) {
  require_file_name(name);
  Task task;
  task.name = name;
  task.scoring = scoring;
  task.version = "Yaml";
  task.metrics = {"acc", "acc_norm"};
  if (name == "medqa_4options") {
    task.format = FileFormat::medqa_4_options;
  } else if (name == "medqa_5options") {
    task.format = FileFormat::medqa_5_options;
  } else if (name == "medmcqa") {
    task.format = FileFormat::medmcqa;
  } else if (name == "pubmedqa") {
    task.format = FileFormat::pubmedqa;
    task.version = "1.0";
    if (scoring == config::Scoring::letter) task.metrics = {"acc"};
  } else if (name.starts_with(kMmluPrefix)) {
    task.format = FileFormat::mmlu;
    task.version = "1.0";
    const bool letter = scoring == config::Scoring::letter;
    if (letter) task.metrics = {"acc"};
    task.description = text_of("The following are ", letter ? "multiple choice " : "",
                               "questions (with answers) about ", subject_text(name), ".\n\n");
  } else {
    task.version = "1.0";
  }
  return task;
}

/// Replaces mmlu_clinical:FOLDER by its subjects.
std::vector<config::NamedPath> expand_groups(const std::vector<config::NamedPath>& named) {
  std::vector<config::NamedPath> expanded;
  for (const config::NamedPath& entry : named) {
    if (entry.name == "multimedqa")
      throw ConfigError(
          "eval.task: multimedqa has files of several kinds; name its tasks one by one (medqa_4options, medmcqa, "
          "pubmedqa, mmlu_clinical) and the group is computed");
    if (entry.name != "mmlu_clinical") {
      expanded.push_back(entry);
      continue;
    }
    for (const std::string& member : task_groups().front().members) {
      const std::string stem = entry.path + "/" + member.substr(kMmluPrefix.size());
      const std::string with_split = stem + "_test.csv";
      expanded.push_back({member, std::filesystem::exists(with_split) ? with_split : stem + ".csv"});
    }
  }
  return expanded;
}

std::string join(const std::vector<std::string>& lines) {
  std::string joined;
  for (std::size_t i = 0; i < lines.size(); ++i) joined += (i == 0 ? "" : "\n") + lines[i];
  return joined;
}

std::string lettered_options(const Question& question) {
  std::string lines;
  for (std::size_t i = 0; i < question.options.size(); ++i)
    lines += letter_of(static_cast<std::int64_t>(i)) + ". " + question.options[i] + "\n";
  return lines;
}

void require_option_texts(const Task& task) {
  for (const Question& question : task.questions)
    for (const std::string& option : question.options)
      if (strip(option).empty())
        throw DataError(task.path, ":", question.line,
                        ": an option is blank, so its text cannot be scored; use eval.scoring=letter");
}

}  // namespace

std::vector<Task> load_tasks(const std::vector<config::NamedPath>& named, config::Scoring scoring, std::int64_t limit) {
  if (named.empty()) throw ConfigError("eval.task: name at least one task as NAME:PATH");
  std::vector<Task> tasks;
  std::set<std::string> names;
  for (const config::NamedPath& entry : expand_groups(named)) {
    Task task = describe_task(entry.name, scoring);
    if (!names.insert(task.name).second) throw ConfigError("eval.task: ", task.name, " is named twice");
    task.path = entry.path;
    task.questions = read_questions(task.format, task.path);
    task.file_sha256 = sha256_hex_of_file(task.path);
    task.num_in_file = static_cast<std::int64_t>(task.questions.size());
    if (limit > 0 && limit < task.num_in_file) task.questions.resize(static_cast<std::size_t>(limit));
    if (scoring == config::Scoring::text) require_option_texts(task);
    tasks.push_back(std::move(task));
  }
  return tasks;
}

std::string prompt_of(const Task& task, const Question& question) {
  if (task.format == FileFormat::pubmedqa)
    return "Abstract: " + join(question.context) + "\nQuestion: " + question.text + "\nAnswer:";
  const bool letter = task.scoring == config::Scoring::letter;
  if (task.format == FileFormat::mmlu) {
    const std::string text(strip(question.text));
    return task.description + (letter ? text + "\n" + lettered_options(question) : "Question: " + text + "\n") +
           "Answer:";
  }
  std::string prompt = question.context.empty() ? "" : "Context: " + join(question.context) + "\n";
  prompt += "Question: " + question.text + "\n";
  if (letter) prompt += (task.format == FileFormat::medmcqa ? "Choices:\n" : "") + lettered_options(question);
  return prompt + "Answer:";
}

std::vector<std::string> choices_of(const Task& task, const Question& question) {
  if (task.format == FileFormat::pubmedqa || task.scoring == config::Scoring::text) return question.options;
  std::vector<std::string> letters;
  for (std::size_t i = 0; i < question.options.size(); ++i) letters.push_back(letter_of(static_cast<std::int64_t>(i)));
  return letters;
}

std::vector<std::string> continuations_of(const Task& task, const Question& question) {
  std::vector<std::string> continuations;
  for (const std::string& choice : choices_of(task, question)) continuations.push_back(std::string(1, ' ') + choice);
  return continuations;
}

std::string target_of(const Task& task, const Question& question) {
  return task.format == FileFormat::pubmedqa ? question.options[static_cast<std::size_t>(question.gold)]
                                             : std::to_string(question.gold);
}

const std::vector<TaskGroup>& task_groups() {
  static const std::vector<TaskGroup> groups = [] {
    const std::vector<std::string> clinical = {
        "mmlu_anatomy",          "mmlu_clinical_knowledge",    "mmlu_college_medicine",
        "mmlu_medical_genetics", "mmlu_professional_medicine", "mmlu_college_biology"};
    std::vector<std::string> all = {"pubmedqa", "medmcqa", "medqa_4options"};
    all.insert(all.end(), clinical.begin(), clinical.end());
    return std::vector<TaskGroup>{{"mmlu_clinical", clinical}, {"multimedqa", all}};
  }();
  return groups;
}

}  // namespace osler::eval
