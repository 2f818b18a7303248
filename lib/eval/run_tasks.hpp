// Scores the questions of all tasks over the ranks of a group.
#pragma once

#include <vector>

#include "comm/group.hpp"
#include "eval/task.hpp"
#include "generate/scorer.hpp"
#include "text/tokenizer.hpp"

namespace osler::eval {

/// By task and item: the score of each choice.
using TaskAnswers = std::vector<std::vector<std::vector<generate::ContinuationScore>>>;

/// The items a rank scores, as indices into the concatenated questions: dealt longest prompt first, back and forth over
/// the ranks, so that shares are alike; every item exactly once.
std::vector<std::size_t> items_of_rank(const std::vector<std::size_t>& prompt_sizes, int rank, int num_ranks);

/// Every rank gets all answers. An item's result does not depend on its neighbours or the number of ranks, up to the
/// rounding of the GEMMs. Progress goes to the log. *Collective.*
TaskAnswers run_tasks(const std::vector<Task>& tasks, model::Model& model, const text::Tokenizer& tokenizer,
                      std::int64_t batch_tokens, comm::Group& group, c10::Device device);

}  // namespace osler::eval
