#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "eval/task_groups.hpp"
#include "eval/prompt_library.hpp"
#include "eval/result_files.hpp"
#include "eval/samples_file.hpp"
#include "eval/scores_table.hpp"
#include "eval/task_score.hpp"

namespace osler::eval {
namespace {

TEST(Statistics, MeanStandardErrorAndWilsonInterval) {
  // 7 of 10: sample sd = sqrt(0.7 * 0.3 * 10 / 9) = 0.483046, / sqrt(10) = 0.152753; Wilson from R's prop.test(7, 10,
  // correct = FALSE).
  const Estimate e = estimate_mean({1, 1, 1, 1, 1, 1, 1, 0, 0, 0});
  EXPECT_DOUBLE_EQ(e.value, 0.7);
  EXPECT_NEAR(*e.std_error, 0.152753, 1e-6);
  EXPECT_NEAR(e.low, 0.396778, 1e-6);
  EXPECT_NEAR(e.high, 0.892209, 1e-6);
  EXPECT_FALSE(estimate_mean({1}).std_error.has_value());
  EXPECT_LE(estimate_mean({0, 0}).low, 0.0);
}

TEST(Statistics, PooledAsIfTheItemsWereOneSet) {
  const Estimate pooled = pool({estimate_mean({1, 0, 1, 1}), estimate_mean({0, 0, 1})});
  EXPECT_NEAR(pooled.value, 4.0 / 7, 1e-12);
  // Pooled variance: (3 * 0.25 + 2 * 1/3) / (7 - 2), then / 7.
  EXPECT_NEAR(*pooled.std_error, std::sqrt((3 * 0.25 + 2.0 / 3) / 5 / 7), 1e-12);
  EXPECT_EQ(pooled.n, 7);
}

Task sample_task() {
  Task task;
  task.name = "exam";
  task.path = "exam.jsonl";
  task.metrics = {"acc", "acc_norm"};
  task.scoring = config::Scoring::text;
  task.version = "1.0";
  task.prompt = load_prompt("lm-eval", FileFormat::generic);
  for (int i = 0; i < 2; ++i) {
    Question question;
    question.id = std::to_string(i);
    question.text = "Q";
    question.options = {"long answer", "no"};
    question.gold = i;
    question.record = R"({"id":"x","question":"Q"})";
    task.questions.push_back(question);
  }
  task.num_in_file = 5;
  return task;
}

std::vector<ItemResult> by_likelihood(const std::vector<std::vector<generate::ContinuationScore>>& choices) {
  std::vector<ItemResult> results;
  for (const auto& of_item : choices) results.push_back({.choices = of_item, .votes = {}, .exemplars = {}});
  return results;
}

TEST(TaskScore, PicksTheFirstOfEqualsAndNormalisesByCharacters) {
  const Task task = sample_task();
  // Item 0: raw picks "no" (-3), per character "long answer" (-0.36 against -1.5). Item 1: a tie goes to the first.
  const TaskScore score = score_task(task, by_likelihood({{{-4, false}, {-3, true}}, {{-2, false}, {-2, false}}}));
  EXPECT_EQ(score.items[0].prediction, 1);
  EXPECT_EQ(score.items[0].prediction_norm, 0);
  EXPECT_EQ(score.items[1].prediction, 0);
  EXPECT_DOUBLE_EQ(score.metrics[0].estimate.value, 0.0);
  EXPECT_DOUBLE_EQ(score.metrics[1].estimate.value, 0.5);
  EXPECT_THROW(score_task(task, by_likelihood({{{NAN, false}, {-3, true}}, {{-2, false}, {-2, false}}})),
               NumericalError);
}

TEST(TaskScore, GroupsNeedAllTheirMembers) {
  std::vector<TaskScore> tasks;
  for (const std::string& member : task_groups().front().members)
    tasks.push_back({.name = member,
                     .subset = "all",
                     .items = {},
                     .metrics = {{"acc", estimate_mean({1, 0})}},
                     .members = {},
                     .num_unparsed = 1});
  ASSERT_EQ(score_groups(tasks).size(), 1u);
  EXPECT_EQ(score_groups(tasks)[0].name, "mmlu_clinical");
  EXPECT_EQ(score_groups(tasks)[0].metrics[0].estimate.n, 12);
  EXPECT_EQ(score_groups(tasks)[0].num_unparsed, 6);
  tasks.pop_back();
  EXPECT_TRUE(score_groups(tasks).empty());
}

TEST(TaskScore, CountsPartsByName) {
  Task task = sample_task();
  task.metrics = {"acc"};
  task.questions[0].subject = "s";
  const TaskScore score = score_task(task, by_likelihood({{{-1, false}, {-3, true}}, {{-2, false}, {-3, false}}}));
  EXPECT_TRUE(score_parts(task, score, {}).empty()) << "one subject is no part";
  task.questions[1].subject = "t";
  const auto parts = score_parts(task, score, {false, true});
  std::vector<std::pair<std::string, double>> found;
  for (const TaskScore& part : parts) found.emplace_back(part.subset, part.metrics[0].estimate.value);
  EXPECT_EQ(found, (std::vector<std::pair<std::string, double>>{
                       {"clean", 1.0}, {"subject:s", 1.0}, {"subject:t", 0.0}, {"touched", 0.0}}));
}

TEST(ResultFiles, HoldWhatLmEvalHolds) {
  const Task task = sample_task();
  const TaskScore score = score_task(task, by_likelihood({{{-4.5, false}, {-3, true}}, {{-2, false}, {-1, false}}}));
  RunIdentity identity;
  identity.model = "runs/a b";
  const auto results =
      nlohmann::json::parse(results_text(identity, {task}, {.tasks = {score}, .parts = {}, .groups = {}}));
  EXPECT_DOUBLE_EQ(results["results"]["exam"]["acc,none"].get<double>(), 0.5);
  EXPECT_EQ(results["n-samples"]["exam"], (nlohmann::json{{"original", 5}, {"effective", 2}}));
  EXPECT_EQ(results["model_name_sanitized"], "runs__a__b");
  const std::string text = samples_text(task, score, identity.options);
  const auto row = nlohmann::json::parse(text.substr(0, text.find('\n')));
  EXPECT_EQ(row["resps"], nlohmann::json::parse(R"([[["-4.5","False"]],[["-3.0","True"]]])"));
  EXPECT_EQ(row["filtered_resps"], nlohmann::json::parse(R"([["-4.5","False"],["-3.0","True"]])"));
  EXPECT_EQ(row["arguments"]["gen_args_1"], (nlohmann::json{{"arg_0", "Question: Q\nAnswer:"}, {"arg_1", " no"}}));
  EXPECT_EQ(row["acc_norm"], 1.0);
}

TEST(ScoresTable, CsvLeavesAMissingErrorEmptyAndQuotes) {
  RunIdentity identity;
  identity.model = "a,b";
  identity.options.seed = std::numeric_limits<std::uint64_t>::max();
  TaskScore score;
  score.name = "exam";
  score.metrics = {{"acc", estimate_mean({1})}};
  const std::string csv = scores_csv(scores_columns(identity, {.tasks = {score}, .parts = {}, .groups = {}}));
  EXPECT_TRUE(csv.starts_with("schema_version,model,tokens_seen,fine_tuned,neftune_alpha,task,subset,strategy,"))
      << csv;
  EXPECT_NE(csv.find("\n1,\"a,b\",0,0,0.0,exam,all,zero-shot,letter,0,acc,1.0,,"), std::string::npos) << csv;
  EXPECT_NE(csv.find(",1,0,18446744073709551615,"), std::string::npos) << csv;
}

}  // namespace
}  // namespace osler::eval
