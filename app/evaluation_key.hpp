// What makes two evaluations the same: then one goes on from the other's journal, and a finished one is not repeated.
#pragma once

#include <string>
#include <vector>

#include "eval/result_files.hpp"

namespace osler::app {

/// SHA-256 over the configuration, the build, the weights (a checkpoint by its manifest, a Hugging Face directory by
/// names, sizes and times of its files), the tokenizer, the prompts and the sums of all files read. The output folder
/// and the number of ranks do not count.
std::string evaluation_key(const config::EvalOptions& options, const std::vector<eval::Task>& tasks,
                           const eval::RunIdentity& identity);

}  // namespace osler::app
