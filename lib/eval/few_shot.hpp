// Exemplars that do not depend on the model: which questions of the training split stand before an item. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/options.hpp"
#include "eval/task.hpp"

namespace osler::eval {

/// SHA-256 of the question's text with runs of white space made one blank, cut at both ends, ASCII letters in lower
/// case: equal for copies of a question that differ in lay-out only.
std::string question_hash(std::string_view text);

/// Takes out of every training split each question that any evaluated file holds, by question_hash, whether or not the
/// limit leaves it in the evaluation: no exemplar comes from an evaluated split.
void leave_out_evaluated(std::vector<Task>& tasks);

/// Sets `task.shots`. MMLU: the first n of its dev split, for every item. Others: lm-eval's draw, random.Random(seed)
/// .sample, item after item. With a prompt that shows reasoning only questions with a rationale are drawn. Throws
/// ConfigError when the task has no training split, DataError when it is too small.
/// Source: lm_eval/api/samplers.py ContextSampler, FirstNSampler.
void choose_shots(Task& task, const config::EvalOptions& options);

/// Throws ConfigError when exemplars are asked for and the task has no training split, DataError when it is too small.
void require_train(const Task& task, const config::EvalOptions& options);

}  // namespace osler::eval
