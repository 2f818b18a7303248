#include "eval/task_score.hpp"

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.hpp"
#include "eval/prompt.hpp"
#include "eval/python_text.hpp"
#include "eval/task_groups.hpp"

namespace osler::eval {

namespace {

void judge_likelihoods(const std::vector<std::string>& names, ItemScore& item) {
  double best = -INFINITY;
  double best_norm = -INFINITY;
  for (std::size_t i = 0; i < item.result.choices.size(); ++i) {
    const double value = item.result.choices[i].log_likelihood;
    const double per_character = value / static_cast<double>(num_characters(names[i]));
    if (value > best) item.prediction = static_cast<std::int64_t>(i);
    if (per_character > best_norm) item.prediction_norm = static_cast<std::int64_t>(i);
    best = std::max(best, value);
    best_norm = std::max(best_norm, per_character);
  }
}

ItemScore score_item(const Task& task, const Question& question, ItemResult result) {
  ItemScore item;
  item.result = std::move(result);
  for (const auto& choice : item.result.choices)
    if (!std::isfinite(choice.log_likelihood))
      throw NumericalError(task.name, ": the log-likelihood of item ", question.id, " (", task.path, ":", question.line,
                           ") is not finite; the weights are damaged or overflow in this dtype");
  if (!item.result.votes.empty()) {
    for (Vote& vote : item.result.votes) {
      read_vote(task, question, vote);
      if (!vote.option) vote.log_prob = 0;
    }
    item.election = elect(item.result.votes, question.options.size());
    item.prediction = item.election.winner;
  } else {
    OSLER_CHECK(item.result.choices.size() == question.options.size(), task.name, " item ", question.id);
    judge_likelihoods(choices_of(task, question), item);
  }
  item.acc = item.prediction == question.gold ? 1 : 0;
  item.acc_norm = item.prediction_norm == question.gold ? 1 : 0;
  return item;
}

/// Sets metrics and num_unparsed from some of the items.
void count(const Task& task, const std::vector<const ItemScore*>& items, TaskScore& score) {
  for (const std::string& metric : task.metrics) {
    std::vector<double> values;
    for (const ItemScore* item : items) values.push_back(metric == "acc" ? item->acc : item->acc_norm);
    score.metrics.push_back({metric, estimate_mean(values)});
  }
  score.num_unparsed =
      std::count_if(items.begin(), items.end(), [](const ItemScore* item) { return !item->prediction; });
}

}  // namespace

TaskScore score_task(const Task& task, std::vector<ItemResult> results) {
  OSLER_CHECK(results.size() == task.questions.size(), task.name);
  TaskScore score;
  score.name = task.name;
  for (std::size_t i = 0; i < results.size(); ++i)
    score.items.push_back(score_item(task, task.questions[i], std::move(results[i])));
  std::vector<const ItemScore*> all;
  for (const ItemScore& item : score.items) all.push_back(&item);
  count(task, all, score);
  return score;
}

std::vector<TaskScore> score_parts(const Task& task, const TaskScore& score, const std::vector<bool>& touched) {
  std::map<std::string, std::vector<const ItemScore*>> parts;
  for (std::size_t i = 0; i < task.questions.size(); ++i)
    if (!task.questions[i].subject.empty()) parts["subject:" + task.questions[i].subject].push_back(&score.items[i]);
  if (parts.size() < 2) parts.clear();
  for (std::size_t i = 0; i < touched.size(); ++i) parts[touched[i] ? "touched" : "clean"].push_back(&score.items[i]);
  std::vector<TaskScore> scores;
  for (const auto& [subset, items] : parts) {
    TaskScore part;
    part.name = task.name;
    part.subset = subset;
    count(task, items, part);
    scores.push_back(std::move(part));
  }
  return scores;
}

std::vector<TaskScore> score_groups(const std::vector<TaskScore>& tasks) {
  std::vector<TaskScore> groups;
  for (const TaskGroup& group : task_groups()) {
    TaskScore score;
    std::vector<Estimate> estimates;
    for (const std::string& member : group.members) {
      for (const TaskScore& task : tasks) {
        if (task.name != member) continue;
        estimates.push_back(task.metrics.front().estimate);
        score.num_unparsed += task.num_unparsed;
      }
    }
    if (estimates.size() != group.members.size()) continue;  // a part of a group must not carry its name
    score.name = group.name;
    score.members = group.members;
    score.metrics = {{"acc", pool(estimates)}};
    groups.push_back(std::move(score));
  }
  return groups;
}

}  // namespace osler::eval
