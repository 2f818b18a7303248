// One row of samples_<task>.jsonl and its hashes, in lm-eval's shape.
#pragma once

#include <string>

#include "eval/task_score.hpp"

namespace osler::eval {

/// SHA-256 of the record (JSON, indented by two), the prompt and the target: lm_eval/evaluator.py.
struct SampleHashes {
  std::string doc;
  std::string prompt;
  std::string target;
};
SampleHashes hash_sample(const Task& task, std::size_t item);

}  // namespace osler::eval
