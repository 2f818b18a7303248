// Puts a group of items to a model by the strategy of the evaluation. Local; the model's calls may be collective.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "eval/item_result.hpp"
#include "eval/language_model.hpp"

namespace osler::eval {

struct ItemRef {
  std::size_t task = 0;
  std::size_t item = 0;
};

/// The exemplars of an item in prompt order; medprompt's are chosen beforehand (reasoned_exemplars.hpp).
using ExemplarsOf = std::function<std::vector<Exemplar>(const ItemRef& ref)>;

/// One result per item, in order. What an item gets depends on the group only by the rounding of sums: the same group
/// gives the same bits.
std::vector<ItemResult> ask_group(const std::vector<Task>& tasks, const std::vector<ItemRef>& group,
                                  const config::EvalOptions& options, const ExemplarsOf& exemplars_of,
                                  LanguageModel& model);

/// The prompts of an item, one per option order (one, but for medprompt with shuffling).
std::vector<std::string> prompts_of(const Task& task, const Question& question, const std::vector<Exemplar>& exemplars,
                                    const config::EvalOptions& options);

/// A generated text as a vote: read, with the log-probability of what names the answer.
Vote vote_of(const Task& task, const Question& question, const OptionOrder& order,
             const generate::Generation& generation, const LanguageModel& model);

}  // namespace osler::eval
