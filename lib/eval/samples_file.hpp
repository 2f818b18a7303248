// One row of samples_<task>.jsonl and its hashes, in lm-eval's shape (docs/formats.md, Evaluation output).
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "eval/task_score.hpp"

namespace osler::eval {

/// SHA-256 of the record (JSON, indented by two), the prompt and the target: lm_eval/evaluator.py. With several prompts
/// the first counts; graded responses have none.
struct SampleHashes {
  std::string doc;
  std::string prompt;
  std::string target;
};
SampleHashes hash_sample(const Task& task, std::size_t item, const ItemScore& score,
                         const config::EvalOptions& options);

/// All rows. Responses, prompts and rationales are benchmark text: treat the file as the benchmark.
std::string samples_text(const Task& task, const TaskScore& score, const config::EvalOptions& options);

}  // namespace osler::eval
