// The texts that a model is given: a question after its exemplars, the options in any order, and what may follow. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "eval/task.hpp"

namespace osler::eval {

/// Position shown -> index of the option in the file. Empty: as in the file.
using OptionOrder = std::vector<std::int64_t>;

struct Exemplar {
  const Question* question = nullptr;
  std::string rationale;
};

/// system, exemplars and the question, a blank line between them; exemplars in the order given, their options as in
/// their file.
std::string build_prompt(const Task& task, const Question& question, std::span<const Exemplar> exemplars,
                         const OptionOrder& order = {});
/// The exemplars of `task.shots`, with the rationale of their file.
std::vector<Exemplar> shots_of(const Task& task, std::size_t item);
/// build_prompt() after shots_of(). Under eval.scoring = text the options are not listed (cloze).
std::string prompt_of(const Task& task, std::size_t item);

/// What stands for each option in its file's order: its letter, its text, or PubMedQA's word.
std::vector<std::string> choices_of(const Task& task, const Question& question);
/// What is scored after the prompt: the prompt's [answer] with each choice.
std::vector<std::string> continuations_of(const Task& task, const Question& question);
/// The line breaks with which [answer] begins: they belong to the prompt when a text is generated.
std::string line_breaks_after(const Task& task);
/// The gold answer as lm-eval's samples file shows it: "2", or "yes" for PubMedQA.
std::string target_of(const Task& task, const Question& question);

/// Whether answers are words (yes, no, maybe) instead of letters.
bool answers_are_words(const Task& task);

}  // namespace osler::eval
