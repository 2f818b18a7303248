#include "eval/task_score.hpp"

#include <algorithm>
#include <cmath>

#include "base/error.hpp"
#include "eval/prompt.hpp"
#include "eval/python_text.hpp"
#include "eval/task_groups.hpp"

namespace osler::eval {

namespace {

ItemScore score_item(const Question& question, const std::vector<std::string>& names,
                     const std::vector<generate::ContinuationScore>& choices) {
  ItemScore item;
  item.choices = choices;
  double best = -INFINITY;
  double best_norm = -INFINITY;
  for (std::size_t i = 0; i < choices.size(); ++i) {
    const double value = choices[i].log_likelihood;
    const double per_character = value / static_cast<double>(num_characters(names[i]));
    if (value > best) item.prediction = static_cast<std::int64_t>(i);
    if (per_character > best_norm) item.prediction_norm = static_cast<std::int64_t>(i);
    best = std::max(best, value);
    best_norm = std::max(best_norm, per_character);
  }
  item.acc = item.prediction == question.gold ? 1 : 0;
  item.acc_norm = item.prediction_norm == question.gold ? 1 : 0;
  return item;
}

}  // namespace

TaskScore score_task(const Task& task, const std::vector<std::vector<generate::ContinuationScore>>& choices) {
  OSLER_CHECK(choices.size() == task.questions.size(), task.name);
  TaskScore score;
  score.name = task.name;
  for (std::size_t i = 0; i < choices.size(); ++i) {
    for (const auto& choice : choices[i])
      if (!std::isfinite(choice.log_likelihood))
        throw NumericalError(task.name, ": the log-likelihood of item ", task.questions[i].id, " (", task.path, ":",
                             task.questions[i].line,
                             ") is not finite; the weights are damaged or overflow in this dtype");
    score.items.push_back(score_item(task.questions[i], choices_of(task, task.questions[i]), choices[i]));
  }
  for (const std::string& metric : task.metrics) {
    std::vector<double> values;
    for (const ItemScore& item : score.items) values.push_back(metric == "acc" ? item.acc : item.acc_norm);
    score.metrics.push_back({metric, estimate_mean(values)});
  }
  return score;
}

std::vector<TaskScore> score_groups(const std::vector<TaskScore>& tasks) {
  std::vector<TaskScore> groups;
  for (const TaskGroup& group : task_groups()) {
    std::vector<Estimate> estimates;
    for (const std::string& member : group.members)
      for (const TaskScore& task : tasks)
        if (task.name == member) estimates.push_back(task.metrics.front().estimate);
    if (estimates.size() != group.members.size()) continue;  // a part of a group must not carry its name
    TaskScore score;
    score.name = group.name;
    score.members = group.members;
    score.metrics = {{"acc", pool(estimates)}};
    groups.push_back(std::move(score));
  }
  return groups;
}

}  // namespace osler::eval
