// The readers behind read_questions(), one per file format. `text` is the whole file, checked UTF-8 without BOM.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "eval/question.hpp"

namespace osler::eval {

/// num_options 0: any number.
std::vector<Question> read_medqa(std::string_view text, const std::string& file, std::size_t num_options);
std::vector<Question> read_medmcqa(std::string_view text, const std::string& file);
std::vector<Question> read_pubmedqa(std::string_view text, const std::string& file);
std::vector<Question> read_mmlu(std::string_view text, const std::string& file);
std::vector<Question> read_generic(std::string_view text, const std::string& file);

}  // namespace osler::eval
