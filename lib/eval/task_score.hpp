// From log-likelihoods to accuracies: per item, per task, per group. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "eval/statistics.hpp"
#include "eval/task.hpp"
#include "generate/scorer.hpp"

namespace osler::eval {

struct ItemScore {
  std::vector<generate::ContinuationScore> choices;  ///< by option
  std::int64_t prediction = 0;                       ///< highest log-likelihood, ties to the first
  std::int64_t prediction_norm = 0;                  ///< highest log-likelihood per character of the choice
  double acc = 0;                                    ///< 1 or 0
  double acc_norm = 0;
};

struct MetricScore {
  std::string metric;
  Estimate estimate;
};

struct TaskScore {
  std::string name;
  std::vector<ItemScore> items;  ///< empty for groups
  std::vector<MetricScore> metrics;
  std::vector<std::string> members;  ///< groups only
  std::int64_t num_unparsed = 0;     ///< always 0 by log-likelihood: every item has an answer
};

/// Source: lm_eval/api/task.py process_results (multiple_choice). Throws NumericalError naming the item when a
/// log-likelihood is not finite.
TaskScore score_task(const Task& task, const std::vector<std::vector<generate::ContinuationScore>>& choices);

/// The groups all of whose members are there; metric acc, weighted by size.
std::vector<TaskScore> score_groups(const std::vector<TaskScore>& tasks);

}  // namespace osler::eval
