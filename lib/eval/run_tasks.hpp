// Puts the questions of all tasks to a model, over all ranks and over restarts.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "eval/ask.hpp"
#include "eval/team.hpp"

namespace osler::eval {

/// By task and item.
using TaskResults = std::vector<std::vector<ItemResult>>;

/// The items in groups of at most `group_items`, task after task, longest questions first, longest groups first: a pure
/// function of the tasks, so that what goes through the model together does not depend on ranks or restarts.
std::vector<std::vector<ItemRef>> plan_groups(const std::vector<Task>& tasks, std::size_t group_items);

/// Every rank gets all results. Finished groups are appended to the journal in `journal_folder` and read from it: the
/// results are those of an unbroken run, bit for bit, on any number of ranks that hold the model alike. Progress goes
/// to the log. Throws StopRequested. *Collective.*
TaskResults run_tasks(const std::vector<Task>& tasks, const config::EvalOptions& options, LanguageModel& model,
                      const Team& team, const std::string& journal_folder);

}  // namespace osler::eval
