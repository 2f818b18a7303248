// Prompt files: what they may say, what is refused and where, and what the built-in ones render to.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/error.hpp"
#include "eval/few_shot.hpp"
#include "eval/prompt.hpp"
#include "eval/prompt_library.hpp"
#include "eval/python_random.hpp"

namespace osler::eval {
namespace {

using testing::HasSubstr;

std::string refusal(const std::string& text) {
  try {
    PromptTemplate(text, "mine.txt");
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(PromptTemplate, RefusesByFileAndLine) {
  EXPECT_EQ(refusal("# note\n[question]\nQ {question}\n[answer]\n {answer}\n"), "accepted");
  EXPECT_THAT(refusal("[question]\nQ\n{letter}\n[answer]\n {answer}\n"),
              HasSubstr("mine.txt:3: {letter} is no field of [question]"));
  EXPECT_THAT(refusal("[question]\n{answer}\n[answer]\n{answer}\n"), HasSubstr("mine.txt:2: {answer} is no field"));
  EXPECT_THAT(refusal("[question]\na {question\n[answer]\nx\n"), HasSubstr("mine.txt:2: a { is never closed"));
  EXPECT_THAT(refusal("[question]\na } b\n[answer]\nx\n"), HasSubstr("mine.txt:2: a } without its {"));
  EXPECT_THAT(refusal("[question]\na\n[question]\nb\n[answer]\nx\n"),
              HasSubstr("mine.txt:3: the section [question] stands twice"));
  EXPECT_THAT(refusal("[question]\na\n"), HasSubstr("the section [answer] is missing"));
  EXPECT_THAT(refusal("hello\n[question]\na\n"), HasSubstr("mine.txt:1: a section such as [question] is expected"));
  EXPECT_THAT(refusal("[question]\n[answer]\nx\n"), HasSubstr("the section [question] is empty"));
  EXPECT_THAT(refusal("[question]\n\xff\n"), HasSubstr("mine.txt:2: not valid UTF-8"));
}

TEST(PromptTemplate, LeavesOutLinesOfEmptyFieldsAndKeepsBraces) {
  const PromptTemplate prompt(
      "[question]\nC: {context}\nQ: {question?} "
      "\\boxed{{x}}\n{options}\nend\n[answer]\n{answer}\n[stop]\n\\n\\nQ\n###\n",
      "t");
  EXPECT_EQ(prompt.render("question", {.question = "Why"}), "Q: Why? \\boxed{x}\nend");
  EXPECT_EQ(prompt.render("question", {.question = "So.", .context = "c", .options = "A. x"}),
            "C: c\nQ: So. \\boxed{x}\nA. x\nend");
  EXPECT_EQ(prompt.stops(), (std::vector<std::string>{"\n\nQ", "###"}));
  EXPECT_EQ(prompt.render("text question", {.question = "Why"}), prompt.render("question", {.question = "Why"}));
}

TEST(PromptLibrary, EveryBuiltinIsWellFormedForEveryFormat) {
  std::set<std::string> names;
  for (const BuiltinPrompt& prompt : builtin_prompts())
    names.insert(std::string(prompt.name.substr(0, prompt.name.find('/'))));
  EXPECT_EQ(names, (std::set<std::string>{"cot", "few-shot", "lm-eval", "meditron", "meditron-cot", "zero-shot"}));
  for (const std::string& name : names)
    for (const FileFormat format : {FileFormat::medqa_4_options, FileFormat::medqa_5_options, FileFormat::usmle,
                                    FileFormat::medmcqa, FileFormat::pubmedqa, FileFormat::mmlu, FileFormat::generic})
      EXPECT_TRUE(load_prompt(name, format).has("question")) << name;
  EXPECT_THROW(load_prompt("lm_eval", FileFormat::generic), ConfigError);
}

Task task_of(const std::string& prompt, FileFormat format) {
  Task task;
  task.name = "t";
  task.format = format;
  task.prompt = load_prompt(prompt, format);
  return task;
}

TEST(Prompt, ShowsOptionsInTheOrderAsked) {
  Question question{.text = "Which organ", .options = {"Heart", "Liver", "Lung"}, .gold = 1};
  Question solved{.text = "Which?", .context = {"It is so."}, .options = {"x", "y"}, .gold = 0, .rationale = "file"};
  const Task cot = task_of("cot", FileFormat::generic);
  EXPECT_EQ(build_prompt(cot, question, std::vector<Exemplar>{{&solved, "As x is so."}}, {2, 0, 1}),
            "Context: It is so.\nQuestion: Which?\nA. x\nB. y\nThink step by step, then end with a line that reads "
            "\"Answer: \" and one of A or B.\nReasoning: As x is so.\nAnswer: A\n\n"
            "Question: Which organ\nA. Lung\nB. Heart\nC. Liver\nThink step by step, then end with a line that reads "
            "\"Answer: \" and one of A, B or C.\nReasoning:");
  const Task meditron = task_of("meditron", FileFormat::medqa_4_options);
  const std::string prompt = build_prompt(meditron, question, std::vector<Exemplar>{{&solved, ""}});
  EXPECT_TRUE(prompt.starts_with(
      "Question: Which?\n\nOptions:\nA. x\nB. y\nThe answer is: A\n\nYou are a medical doctor taking"));
  EXPECT_TRUE(
      prompt.ends_with("guidelines.\nQuestion: Which organ?\n\nOptions:\nA. Heart\nB. Liver\nC. Lung\nThe answer is:"));
  EXPECT_EQ(continuations_of(meditron, question), (std::vector<std::string>{"\nA", "\nB", "\nC"}));
  Question pubmed{.text = "Does it?", .context = {"One.", "Two."}, .options = {"yes", "no", "maybe"}, .gold = 2};
  EXPECT_EQ(build_prompt(task_of("zero-shot", FileFormat::pubmedqa), pubmed, {}, {2, 0, 1}),
            "Context: One.\nTwo.\nQuestion: Does it?\nReply with one of maybe, yes or no and nothing else.\nAnswer:");
}

TEST(PythonRandom, DrawsAsPython) {
  // random.Random(1234).sample(range(30), 5), twice, then sample(range(10_000), 7); random.Random(2**40 +
  // 7).sample(range(100), 3)
  PythonRandom random(1234);
  EXPECT_EQ(random.sample(30, 5), (std::vector<std::size_t>{24, 14, 3, 0, 2}));
  EXPECT_EQ(random.sample(30, 5), (std::vector<std::size_t>{29, 25, 18, 1, 21}));
  EXPECT_EQ(random.sample(10'000, 7), (std::vector<std::size_t>{1375, 1612, 5810, 3879, 285, 504, 259}));
  EXPECT_EQ(PythonRandom((std::uint64_t{1} << 40) + 7).sample(100, 3), (std::vector<std::size_t>{78, 95, 81}));
}

TEST(FewShot, NoExemplarComesFromAnEvaluatedSplit) {
  std::vector<Task> tasks(2);
  for (int i = 0; i < 20; ++i)
    tasks[0].questions.push_back({.id = std::to_string(i), .text = "Question number " + std::to_string(i) + "?"});
  tasks[1].questions.push_back({.text = "Other?"});
  for (int i = 10; i < 40; ++i) tasks[1].train.push_back({.text = "question  NUMBER\n" + std::to_string(i) + "? "});
  tasks[1].train.push_back({.text = " other?"});
  leave_out_evaluated(tasks);
  EXPECT_EQ(tasks[1].num_train_left_out, 11);  // ten of the other task's questions and its own one
  std::set<std::string> evaluated;
  for (const Task& task : tasks)
    for (const Question& question : task.questions) evaluated.insert(question_hash(question.text));
  for (const Question& question : tasks[1].train) EXPECT_FALSE(evaluated.contains(question_hash(question.text)));
  EXPECT_EQ(tasks[1].train.size(), 20u);
}

}  // namespace
}  // namespace osler::eval
