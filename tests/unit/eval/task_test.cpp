// Prompts: equal to lm-eval's for the tasks of the same names (tests/parity compares with the package itself).
#include "eval/task.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/error.hpp"
#include "eval/prompt.hpp"
#include "eval/python_text.hpp"

namespace osler::eval {
namespace {

class Folder {
 public:
  Folder() : path_(std::filesystem::temp_directory_path() / ("osler_eval_" + std::to_string(::getpid()))) {
    std::filesystem::create_directories(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ / name, std::ios::binary) << text;
    return (path_ / name).string();
  }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

constexpr const char* kMedqa =
    R"({"question":"Which organ?","answer":"Liver","options":{"A":"Heart","B":"Liver","C":"Lung","D":"Skin"},"answer_idx":"B"})"
    "\n";

std::vector<Task> load_all(const std::vector<config::NamedPath>& named, std::int64_t limit = 0) {
  config::EvalOptions options;
  options.task = named;
  options.limit = limit;
  return load_tasks(options);
}

Task load(const std::string& name, const std::string& path, config::Scoring scoring = config::Scoring::letter) {
  config::EvalOptions options;
  options.task = {{name, path}};
  options.scoring = scoring;
  return load_tasks(options).front();
}

TEST(Task, PromptsByName) {
  const Folder folder;
  struct Case {
    const char* name;
    std::string content;
    config::Scoring scoring;
    std::string prompt;
    std::vector<std::string> continuations;
    std::string target;
  };
  const auto letter = config::Scoring::letter;
  const auto text = config::Scoring::text;
  const std::string medmcqa = R"({"question":"Q?","opa":"p","opb":"q","opc":"r","opd":"s","cop":0})"
                              "\n"
                              R"({"question":"R?","opa":"p","opb":"q","opc":"r","opd":"s","cop":3})";
  const std::string pubmedqa =
      R"({"11": {"QUESTION": "Does it?", "CONTEXTS": ["One.", "Two."], "final_decision": "maybe"}})";
  const std::string generic =
      R"({"id":"g1","question":"Why?","options":["x","yy","zzz"],"answer":"yy","context":"Because."})";
  for (const Case& c : {
           Case{"medqa_4options",
                kMedqa,
                letter,
                "Question: Which organ?\nA. Heart\nB. Liver\nC. Lung\nD. Skin\nAnswer:",
                {" A", " B", " C", " D"},
                "1"},
           Case{"medqa_4options",
                kMedqa,
                text,
                "Question: Which organ?\nAnswer:",
                {" Heart", " Liver", " Lung", " Skin"},
                "1"},
           Case{"medmcqa",
                medmcqa,
                letter,
                "Question: Q?\nChoices:\nA. p\nB. q\nC. r\nD. s\nAnswer:",
                {" A", " B", " C", " D"},
                "0"},
           Case{"pubmedqa",
                pubmedqa,
                letter,
                "Abstract: One.\nTwo.\nQuestion: Does it?\nAnswer:",
                {" yes", " no", " maybe"},
                "maybe"},
           Case{"mmlu_college_medicine",
                "\" What? \n\",a,b,c,d,C\n",
                letter,
                "The following are multiple choice questions (with answers) about college medicine.\n\nWhat?\nA. a\nB. "
                "b\nC. c\nD. d\nAnswer:",
                {" A", " B", " C", " D"},
                "2"},
           Case{"mmlu_anatomy",
                "question,choice0,choice1,choice2,choice3,answer\nWhat?,a,b,c,d,3\n",
                text,
                "The following are questions (with answers) about anatomy.\n\nQuestion: What?\nAnswer:",
                {" a", " b", " c", " d"},
                "3"},
           Case{"exam",
                generic,
                letter,
                "Context: Because.\nQuestion: Why?\nA. x\nB. yy\nC. zzz\nAnswer:",
                {" A", " B", " C"},
                "1"},
       }) {
    const Task task = load(c.name, folder.write("file", c.content), c.scoring);
    EXPECT_EQ(prompt_of(task, 0), c.prompt);
    EXPECT_EQ(continuations_of(task, task.questions[0]), c.continuations) << c.name;
    EXPECT_EQ(target_of(task, task.questions[0]), c.target) << c.name;
  }
}

TEST(Task, CountsMedmcqaOptionsFromWhereTheFileDoes) {
  const Folder folder;
  const auto line = [](int cop) {
    return R"({"question":"Q","opa":"p","opb":"q","opc":"r","opd":"s","cop":)" + std::to_string(cop) + "}\n";
  };
  EXPECT_EQ(load("medmcqa", folder.write("zero", line(1) + line(0))).questions[0].gold, 1);
  EXPECT_EQ(load("medmcqa", folder.write("one", line(1) + line(4))).questions[0].gold, 0);
  EXPECT_THROW(load("medmcqa", folder.write("unclear", line(1) + line(2))), DataError);
  EXPECT_THROW(load("medmcqa", folder.write("both", line(0) + line(4))), DataError);
}

TEST(Task, LimitKeepsTheFirstAndGroupsExpand) {
  const Folder folder;
  const std::string path = folder.write("medqa", std::string(kMedqa) + kMedqa + kMedqa);
  const Task limited = load_all({{"medqa_4options", path}}, 2).front();
  EXPECT_EQ(limited.questions.size(), 2u);
  EXPECT_EQ(limited.num_in_file, 3);
  for (const char* subject : {"anatomy_test", "clinical_knowledge", "college_medicine_test", "medical_genetics",
                              "professional_medicine", "college_biology"})
    folder.write(std::string(subject) + ".csv", "Q,a,b,c,d,A\n");
  const auto tasks = load_all({{"mmlu_clinical", folder.path()}});
  ASSERT_EQ(tasks.size(), 6u);
  EXPECT_EQ(tasks[0].name, "mmlu_anatomy");
  EXPECT_TRUE(tasks[0].path.ends_with("/anatomy_test.csv"));
}

TEST(Task, GroupsMayShareSubjectsAndTakeTheirDevSplits) {
  const Folder folder;
  for (const char* subject :
       {"anatomy", "clinical_knowledge", "college_medicine", "medical_genetics", "professional_medicine",
        "college_biology", "high_school_biology", "nutrition", "virology"}) {
    folder.write(std::string(subject) + "_test.csv", std::string("Q ") + subject + ",a,b,c,d,A\n");
    folder.write(std::string(subject) + "_dev.csv", "First,a,b,c,d,A\nSecond,a,b,c,d,B\nThird,a,b,c,d,B\n");
  }
  config::EvalOptions options;
  options.task = {{"mmlu_clinical", folder.path()}, {"mmlu_meditron", folder.path()}};
  options.train = options.task;
  options.strategy = config::Strategy::few_shot;
  options.shots = 2;
  const auto tasks = load_tasks(options);
  ASSERT_EQ(tasks.size(), 9u);
  for (const Task& task : tasks) {
    EXPECT_TRUE(task.train_path.ends_with("_dev.csv")) << task.train_path;
    EXPECT_EQ(task.shots[0], (std::vector<std::size_t>{0, 1})) << "MMLU: the first n, in order";
  }
  options.train.pop_back();
  EXPECT_THROW(load_tasks(options), ConfigError) << "three subjects have no training split";
  options.train = {{"mmlu_clinical", folder.path()}, {"exam", folder.path()}};
  EXPECT_THROW(load_tasks(options), ConfigError) << "a training split of no task";
}

TEST(Task, UsmleTakesAnyNumberOfOptions) {
  const Folder folder;
  const Task task =
      load("usmle_step1",
           folder.write("usmle", R"({"question":"Q?","options":{"A":"a","B":"b"},"answer_idx":"B"})"
                                 "\n"
                                 R"({"question":"R?","options":["a","b","c","d","e","f"],"answer_idx":"F"})"));
  EXPECT_EQ(task.questions[0].gold, 1);
  EXPECT_EQ(task.questions[1].gold, 5);
  EXPECT_EQ(continuations_of(task, task.questions[1]).size(), 6u);
}

TEST(Task, RefusesNamesThatCannotBe) {
  const Folder folder;
  const std::string path = folder.write("medqa", kMedqa);
  for (const char* name : {"mmlu_anatomi", "multimedqa", "../evil", "", ".hidden"})
    EXPECT_THROW(load(name, path), ConfigError) << name;
  EXPECT_THROW(load_all({{"medqa_4options", path}, {"medqa_4options", path}}), ConfigError);
}

TEST(PythonText, StripsAndCountsAsPython) {
  EXPECT_EQ(strip(" \t\u00A0\u3000x y\u2003\n"), "x y");
  EXPECT_EQ(rstrip("a\u200B"), "a\u200B");  // zero width space is no white space
  EXPECT_EQ(strip("\u2009"), "");
  EXPECT_EQ(num_characters("na\u00EFve \u2265\U0001F600"), 8);
}

}  // namespace
}  // namespace osler::eval
