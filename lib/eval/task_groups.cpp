#include "eval/task_groups.hpp"

#include <algorithm>
#include <array>
#include <string_view>

#include "base/error.hpp"

namespace osler::eval {

namespace {

constexpr std::array<std::string_view, 57> kMmluSubjects = {
    // clang-format off
    "abstract_algebra", "anatomy", "astronomy", "business_ethics", "clinical_knowledge", "college_biology",
    "college_chemistry", "college_computer_science", "college_mathematics", "college_medicine", "college_physics",
    "computer_security", "conceptual_physics", "econometrics", "electrical_engineering", "elementary_mathematics",
    "formal_logic", "global_facts", "high_school_biology", "high_school_chemistry", "high_school_computer_science",
    "high_school_european_history", "high_school_geography", "high_school_government_and_politics",
    "high_school_macroeconomics", "high_school_mathematics", "high_school_microeconomics", "high_school_physics",
    "high_school_psychology", "high_school_statistics", "high_school_us_history", "high_school_world_history",
    "human_aging", "human_sexuality", "international_law", "jurisprudence", "logical_fallacies", "machine_learning",
    "management", "marketing", "medical_genetics", "miscellaneous", "moral_disputes", "moral_scenarios", "nutrition",
    "philosophy", "prehistory", "professional_accounting", "professional_law", "professional_medicine",
    "professional_psychology", "public_relations", "security_studies", "sociology", "us_foreign_policy", "virology",
    "world_religions"
    // clang-format on
};

std::vector<std::string> mmlu(std::initializer_list<const char*> subjects) {
  std::vector<std::string> names;
  for (const char* subject : subjects) names.push_back(std::string(kMmluPrefix) + subject);
  return names;
}

}  // namespace

const std::vector<TaskGroup>& task_groups() {
  static const std::vector<TaskGroup> groups = [] {
    const std::vector<std::string> clinical = mmlu({"anatomy", "clinical_knowledge", "college_medicine",
                                                    "medical_genetics", "professional_medicine", "college_biology"});
    const std::vector<std::string> meditron =
        mmlu({"high_school_biology", "college_biology", "college_medicine", "professional_medicine", "medical_genetics",
              "virology", "clinical_knowledge", "nutrition", "anatomy"});
    std::vector<std::string> all = {"pubmedqa", "medmcqa", "medqa_4options"};
    all.insert(all.end(), clinical.begin(), clinical.end());
    return std::vector<TaskGroup>{{"mmlu_clinical", clinical}, {"mmlu_meditron", meditron}, {"multimedqa", all}};
  }();
  return groups;
}

const TaskGroup* find_mmlu_group(const std::string& name) {
  for (const TaskGroup& group : task_groups())
    if (group.name == name && name.starts_with(kMmluPrefix)) return &group;
  return nullptr;
}

std::string mmlu_subject(const std::string& task_name) {
  std::string subject = task_name.substr(kMmluPrefix.size());
  if (std::find(kMmluSubjects.begin(), kMmluSubjects.end(), subject) == kMmluSubjects.end())
    throw ConfigError("eval.task: \"", subject, "\" in ", task_name,
                      " is not one of MMLU's 57 subjects, e.g. mmlu_college_medicine");
  std::replace(subject.begin(), subject.end(), '_', ' ');
  return subject;
}

}  // namespace osler::eval
