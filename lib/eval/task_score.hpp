// From likelihoods and votes to accuracies: per item, per task, per part of a task, per group. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "eval/item_result.hpp"
#include "eval/statistics.hpp"
#include "eval/task.hpp"

namespace osler::eval {

struct ItemScore {
  ItemResult result;                       ///< votes read
  Election election;                       ///< of the votes
  std::optional<std::int64_t> prediction;  ///< highest log-likelihood, ties to the first; or who won; none: unparsed
  std::int64_t prediction_norm = 0;        ///< highest log-likelihood per character of the choice
  double acc = 0;                          ///< 1 or 0; unparsed is wrong
  double acc_norm = 0;
};

struct MetricScore {
  std::string metric;
  Estimate estimate;
};

struct TaskScore {
  std::string name;
  std::string subset = "all";    ///< "subject:NAME", "clean", "touched": a part of the task's items
  std::vector<ItemScore> items;  ///< empty for groups and parts
  std::vector<MetricScore> metrics;
  std::vector<std::string> members;  ///< groups only
  std::int64_t num_unparsed = 0;     ///< items of whose votes none could be read; 0 by log-likelihood
};

/// Reads the votes and counts. Source: lm_eval/api/task.py process_results (multiple_choice). Throws NumericalError
/// naming the item when a log-likelihood is not finite.
TaskScore score_task(const Task& task, std::vector<ItemResult> results);

/// The parts of a task: one per subject when its items name at least two, and with `touched` (by item; empty: unknown)
/// the clean and the touched items. A part without items is left out.
std::vector<TaskScore> score_parts(const Task& task, const TaskScore& score, const std::vector<bool>& touched);

/// The groups all of whose members are there; metric acc, weighted by size.
std::vector<TaskScore> score_groups(const std::vector<TaskScore>& tasks);

}  // namespace osler::eval
