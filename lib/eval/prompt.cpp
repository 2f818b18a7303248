#include "eval/prompt.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "eval/python_text.hpp"

namespace osler::eval {

namespace {

constexpr const char* kSeparator = "\n\n";  // lm-eval's few-shot delimiter

std::string joined(const std::vector<std::string>& lines, const char* separator) {
  std::string text;
  for (std::size_t i = 0; i < lines.size(); ++i) text += (i == 0 ? "" : separator) + lines[i];
  return text;
}

/// "A, B, C or D"
std::string alternatives(const std::vector<std::string>& names) {
  const std::vector<std::string> first(names.begin(), names.end() - 1);
  return joined(first, ", ") + " or " + names.back();
}

std::string section(const Task& task, const std::string& name) {
  return task.scoring == config::Scoring::text ? "text " + name : name;
}

PromptFields fields_of(const Task& task, const Question& question, const OptionOrder& order) {
  OSLER_CHECK(order.empty() || order.size() == question.options.size());
  PromptFields fields;
  fields.question = task.format == FileFormat::mmlu ? std::string(strip(question.text)) : question.text;
  fields.context = joined(question.context, "\n");
  fields.subject = task.subject.empty() ? question.subject : task.subject;
  std::vector<std::string> lines;
  std::vector<std::string> names;
  for (std::size_t i = 0; i < question.options.size(); ++i) {
    const std::string letter = letter_of(static_cast<std::int64_t>(i));
    const std::string& option = question.options[order.empty() ? i : static_cast<std::size_t>(order[i])];
    lines.push_back(task.prompt.option_line(letter, option));
    names.push_back(answers_are_words(task) ? option : letter);
  }
  if (!answers_are_words(task)) fields.options = joined(lines, "\n");
  fields.choices = alternatives(names);
  return fields;
}

std::string solved(const Task& task, const Exemplar& exemplar) {
  PromptFields fields = fields_of(task, *exemplar.question, {});
  fields.rationale = exemplar.rationale;
  fields.answer = choices_of(task, *exemplar.question)[static_cast<std::size_t>(exemplar.question->gold)];
  if (task.prompt.has("exemplar")) return task.prompt.render(section(task, "exemplar"), fields);
  return task.prompt.render(section(task, "question"), fields) + task.prompt.render(section(task, "answer"), fields);
}

}  // namespace

bool answers_are_words(const Task& task) {
  return task.format == FileFormat::pubmedqa;
}

std::string build_prompt(const Task& task, const Question& question, std::span<const Exemplar> exemplars,
                         const OptionOrder& order) {
  const PromptFields fields = fields_of(task, question, order);
  std::string prompt;
  if (task.prompt.has("system")) prompt += task.prompt.render(section(task, "system"), fields) + kSeparator;
  for (const Exemplar& exemplar : exemplars) prompt += solved(task, exemplar) + kSeparator;
  return prompt + task.prompt.render(section(task, "question"), fields);
}

std::vector<Exemplar> shots_of(const Task& task, std::size_t item) {
  std::vector<Exemplar> exemplars;
  if (item >= task.shots.size()) return exemplars;
  for (const std::size_t i : task.shots[item]) exemplars.push_back({&task.train[i], task.train[i].rationale});
  return exemplars;
}

std::string prompt_of(const Task& task, std::size_t item) {
  return build_prompt(task, task.questions[item], shots_of(task, item));
}

std::vector<std::string> choices_of(const Task& task, const Question& question) {
  if (answers_are_words(task) || task.scoring == config::Scoring::text) return question.options;
  std::vector<std::string> letters;
  for (std::size_t i = 0; i < question.options.size(); ++i) letters.push_back(letter_of(static_cast<std::int64_t>(i)));
  return letters;
}

std::vector<std::string> continuations_of(const Task& task, const Question& question) {
  PromptFields fields = fields_of(task, question, {});
  std::vector<std::string> continuations;
  for (const std::string& choice : choices_of(task, question)) {
    fields.answer = choice;
    continuations.push_back(task.prompt.render(section(task, "answer"), fields));
  }
  return continuations;
}

std::string line_breaks_after(const Task& task) {
  const std::string answer = task.prompt.render(section(task, "answer"), {.answer = "A", .rationale = "R"});
  return answer.substr(0, std::min(answer.find_first_not_of('\n'), answer.size()));
}

std::string target_of(const Task& task, const Question& question) {
  return answers_are_words(task) ? question.options[static_cast<std::size_t>(question.gold)]
                                 : std::to_string(question.gold);
}

}  // namespace osler::eval
