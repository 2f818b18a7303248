#include "eval/run_tasks.hpp"

#include <algorithm>
#include <numeric>

#include "base/error.hpp"
#include "base/log.hpp"
#include "eval/journal.hpp"
#include "eval/reasoned_exemplars.hpp"

namespace osler::eval {

namespace {

std::size_t size_of(const Question& question) {
  std::size_t size = question.text.size();
  for (const std::string& text : question.context) size += text.size();
  for (const std::string& text : question.options) size += text.size();
  return size;
}

/// What earlier starts left in the journal.
struct Known {
  Reasonings reasonings;
  std::vector<std::vector<std::optional<ItemResult>>> items;
};

Known read_known(const std::vector<Task>& tasks, const std::string& folder, const Team& team) {
  std::string text;
  comm::agree_after(team.ranks, [&] {
    if (team.ranks.rank() != 0) return;
    text = Journal::read(folder);
  });
  text = team.ranks.broadcast_bytes(text, 0);  // the files may look older from other nodes
  Known known;
  for (const Task& task : tasks) known.items.emplace_back(task.questions.size());
  for (const Json& record : Journal::parse(text)) {
    const std::string name = record.value("task", "");
    const auto task = std::find_if(tasks.begin(), tasks.end(), [&](const Task& each) { return each.name == name; });
    const auto index = record.value("index", std::size_t{0});
    if (task == tasks.end()) continue;
    const auto t = static_cast<std::size_t>(task - tasks.begin());
    if (record.value("kind", "") == "exemplar" && index < task->train.size())
      known.reasonings[{t, index}] = {record.value("kept", false), record.value("rationale", ""),
                                      record.value("tries", std::int64_t{0})};
    if (record.value("kind", "") == "item" && index < task->questions.size())
      known.items[t][index] = item_result_of(*task, record.at("result"), folder);
  }
  return known;
}

Json item_record(const Task& task, std::size_t item, const ItemResult& result) {
  return {{"kind", "item"}, {"task", task.name}, {"index", item}, {"result", json_of(task, result)}};
}

}  // namespace

std::vector<std::vector<ItemRef>> plan_groups(const std::vector<Task>& tasks, std::size_t group_items) {
  std::vector<std::vector<ItemRef>> groups;
  std::vector<std::size_t> sizes;
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    const std::vector<Question>& questions = tasks[t].questions;
    std::vector<std::size_t> order(questions.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return size_of(questions[a]) > size_of(questions[b]); });
    for (std::size_t i = 0; i < order.size(); ++i) {
      if (i % group_items == 0) groups.emplace_back(), sizes.push_back(0);
      groups.back().push_back({t, order[i]});
      sizes.back() += size_of(questions[order[i]]);
    }
  }
  std::vector<std::size_t> by_size(groups.size());
  std::iota(by_size.begin(), by_size.end(), std::size_t{0});
  std::stable_sort(by_size.begin(), by_size.end(), [&](std::size_t a, std::size_t b) { return sizes[a] > sizes[b]; });
  std::vector<std::vector<ItemRef>> sorted;
  for (const std::size_t g : by_size) sorted.push_back(groups[g]);
  return sorted;
}

TaskResults run_tasks(const std::vector<Task>& tasks, const config::EvalOptions& options, LanguageModel& model,
                      const Team& team, const std::string& journal_folder) {
  Known known = read_known(tasks, journal_folder, team);
  std::optional<Journal> journal;
  comm::agree_after(team.ranks, [&] { journal.emplace(journal_folder, team.ranks.rank(), team.is_lead); });

  ExemplarsOf exemplars_of = [&](const ItemRef& ref) { return shots_of(tasks[ref.task], ref.item); };
  if (options.strategy == config::Strategy::medprompt) {
    const auto candidates = rank_candidates(tasks, options, model, team);
    exemplars_of = [chosen = choose_exemplars(tasks, candidates, options, model, team, *journal, known.reasonings)](
                       const ItemRef& ref) { return chosen[ref.task][ref.item]; };
  }

  const auto groups = plan_groups(tasks, static_cast<std::size_t>(options.group_items));
  std::vector<bool> is_done;
  for (const auto& group : groups)
    is_done.push_back(std::all_of(group.begin(), group.end(),
                                  [&](const ItemRef& ref) { return known.items[ref.task][ref.item].has_value(); }));
  const auto pieces = run_pieces(team, is_done, "groups of items", [&](auto piece) {
    const std::vector<ItemRef> group = piece ? groups[*piece] : std::vector<ItemRef>{};
    const std::vector<ItemResult> results = ask_group(tasks, group, options, exemplars_of, model);
    std::vector<Json> records;
    for (std::size_t i = 0; i < group.size(); ++i)
      records.push_back(item_record(tasks[group[i].task], group[i].item, results[i]));
    journal->append(records);
    return Json(records).dump();
  });

  TaskResults results;
  for (const Task& task : tasks) results.emplace_back(task.questions.size());
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const Json records = is_done[g] ? Json::array() : Json::parse(pieces[g]);
    for (std::size_t i = 0; i < groups[g].size(); ++i) {
      const auto& [t, item] = groups[g][i];
      results[t][item] = is_done[g] ? std::move(*known.items[t][item])
                                    : item_result_of(tasks[t], records.at(i).at("result"), journal_folder);
    }
  }
  return results;
}

}  // namespace osler::eval
