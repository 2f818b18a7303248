// MedPrompt's exemplars: for each item the nearest training questions that the model itself reasoned to their gold
// answer. Source: Nori et al. 2023 (arXiv 2311.16452), Algorithm 1; docs/prompts.md, MedPrompt, for what is ours.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "eval/ask.hpp"
#include "eval/journal.hpp"
#include "eval/team.hpp"

namespace osler::eval {

/// What came of reasoning about a training question.
struct Reasoning {
  bool is_kept = false;   ///< an answer equal to gold was reached
  std::string rationale;  ///< of a kept one: what was said before the answer
  std::int64_t num_tries = 0;
};
using TrainRef = std::pair<std::size_t, std::size_t>;  ///< task, index into its train
using Reasonings = std::map<TrainRef, Reasoning>;

/// By task and item: training questions that may become exemplars, most similar first (without kNN: drawn by key).
/// *Collective.*
std::vector<std::vector<std::vector<std::size_t>>> rank_candidates(const std::vector<Task>& tasks,
                                                                   const config::EvalOptions& options,
                                                                   LanguageModel& model, const Team& team);

/// By task and item: the exemplars in prompt order, most similar last. Reasons only about candidates that some item
/// needs: rounds go on until every item has eval.shots kept ones or no candidate left. Each piece of a round is
/// journaled; what `known` holds from before is not made again. *Collective.*
std::vector<std::vector<std::vector<Exemplar>>> choose_exemplars(
    const std::vector<Task>& tasks, const std::vector<std::vector<std::vector<std::size_t>>>& candidates,
    const config::EvalOptions& options, LanguageModel& model, const Team& team, Journal& journal, Reasonings known);

/// Tries each question greedily, then those that missed their gold answer with eval.medprompt_tries - 1 samples; of
/// several kept samples one is chosen by key. Local but for the model's calls.
std::vector<Reasoning> reason(const std::vector<Task>& tasks, const std::vector<TrainRef>& questions,
                              const config::EvalOptions& options, LanguageModel& model);

Json json_of(const std::vector<Task>& tasks, const TrainRef& ref, const Reasoning& reasoning);

}  // namespace osler::eval
