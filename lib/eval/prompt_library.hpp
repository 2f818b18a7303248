// The prompts of the program (configs/prompts, compiled in) and those of users' own files. Local.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "eval/prompt_template.hpp"
#include "eval/question.hpp"

namespace osler::eval {

struct BuiltinPrompt {
  std::string_view name;  ///< "cot", or "lm-eval/medmcqa"
  std::string_view text;
};
std::span<const BuiltinPrompt> builtin_prompts();  ///< sorted by name

/// `prompt` is a built-in name, a file or a folder. A name or folder with one file per kind of benchmark gives the one
/// of `format` (medqa.txt, usmle.txt, medmcqa.txt, pubmedqa.txt, mmlu.txt, generic.txt), else its default.txt. Throws
/// ConfigError.
PromptTemplate load_prompt(const std::string& prompt, FileFormat format);

}  // namespace osler::eval
