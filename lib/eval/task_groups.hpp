// Groups of tasks by name, and MMLU's subjects. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace osler::eval {

constexpr std::string_view kMmluPrefix = "mmlu_";

struct TaskGroup {
  std::string name;
  std::vector<std::string> members;
};

/// mmlu_clinical (the six subjects of MultiMedQA), mmlu_meditron (the nine of Meditron, Chen et al. 2023) and
/// multimedqa. Groups may share members.
const std::vector<TaskGroup>& task_groups();
/// The group that NAME:FOLDER stands for, or null.
const TaskGroup* find_mmlu_group(const std::string& name);
/// "mmlu_college_medicine" -> "college medicine". Throws ConfigError for what is none of MMLU's 57: a typing mistake
/// would silently change the prompt.
std::string mmlu_subject(const std::string& task_name);

}  // namespace osler::eval
