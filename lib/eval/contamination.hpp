// Which items of a task stand in the training text, from the report that `osler tokenize` writes. Local.
#pragma once

#include <string>
#include <vector>

#include "eval/task.hpp"

namespace osler::eval {

/// By item: whether the report (contamination_<name>.jsonl, one object per touched item with `item`, its number in the
/// file from 0, and `question_sha256`) lists it. Throws DataError with file and line when a line is broken or its sum
/// is not that of the task's question: then the report belongs to another file.
std::vector<bool> read_touched(const Task& task, const std::string& path);

}  // namespace osler::eval
