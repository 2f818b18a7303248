// MedPrompt and its parts on a scripted model: which exemplars, in which order, made by how many tries, and that
// nothing depends on ranks, groups or restarts. Expected values are worked out by hand from the vectors below.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "comm/group.hpp"
#include "eval/few_shot.hpp"
#include "eval/neighbors.hpp"
#include "eval/prompt_library.hpp"
#include "eval/reasoned_exemplars.hpp"
#include "eval/run_tasks.hpp"
#include "eval/task_score.hpp"
#include "unit/eval/scripted_model.hpp"

namespace osler::eval {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

/// Training question i: "train i", gold B, at angle i * 10 degrees; item j: "item j" at angle 0.
struct Bench {
  Bench() : folder(fs::temp_directory_path() / ("osler_medprompt_" + std::to_string(::getpid()))) {
    fs::remove_all(folder);
    Task task;
    task.name = "exam";
    task.prompt = load_prompt("cot", FileFormat::generic);
    task.metrics = {"acc"};
    for (int j = 0; j < 3; ++j)
      task.questions.push_back({.id = "i" + std::to_string(j),
                                .text = "item " + std::to_string(j),
                                .options = {"w", "x", "y", "z"},
                                .gold = 1});
    for (int i = 0; i < 8; ++i)
      task.train.push_back(
          {.id = "t" + std::to_string(i), .text = "train " + std::to_string(i), .options = {"p", "q", "r"}, .gold = 1});
    tasks = {task};
    options.strategy = config::Strategy::medprompt;
    options.shots = 3;
    options.medprompt_candidates = 8;
    options.group_items = 2;
    model.vector_of = [](const std::string& text) {
      const double angle = text.starts_with("item") ? 0 : std::stod(text.substr(6)) * 0.1745;
      return std::vector<float>{static_cast<float>(std::cos(angle)), static_cast<float>(std::sin(angle))};
    };
    model.say = [this](const std::string& prompt, std::int64_t sample, const TextRequest&) -> std::string {
      const std::size_t at = prompt.rfind("Question: ") + 10;
      const std::string question = prompt.substr(at, prompt.find('\n', at) - at);
      if (question.starts_with("item")) return "Thinking.\nAnswer: B";
      const auto wanted = first_right.find(question);
      const std::int64_t right_from = wanted == first_right.end() ? 0 : wanted->second;
      return "Because of " + question + ", try " + std::to_string(sample) +
             ".\nAnswer: " + (sample >= right_from ? "B" : "C");
    };
  }
  ~Bench() { fs::remove_all(folder); }

  std::vector<std::string> exemplar_ids(std::size_t item) {
    Journal journal((folder / "unused").string(), 0, false);
    const auto candidates = rank_candidates(tasks, options, model, team);
    const auto chosen = choose_exemplars(tasks, candidates, options, model, team, journal, {});
    std::vector<std::string> ids;
    for (const Exemplar& exemplar : chosen[0][item]) ids.push_back(exemplar.question->id);
    return ids;
  }
  TaskResults run(const std::string& name) { return run_tasks(tasks, options, model, team, (folder / name).string()); }

  fs::path folder;
  std::vector<Task> tasks;
  config::EvalOptions options;
  ScriptedModel model;
  std::map<std::string, std::int64_t> first_right;  ///< number of the first sample that says B
  Team team{.ranks = comm::self_group()};
};

TEST(MedPrompt, ExemplarsAreTheNearestThatReachGoldMostSimilarLast) {
  Bench bench;
  EXPECT_THAT(bench.exemplar_ids(0), ElementsAre("t2", "t1", "t0"));
  EXPECT_EQ(bench.model.asked.size(), 3u) << "only those that are needed are reasoned about";
  bench.first_right["train 1"] = 99;  // never
  EXPECT_THAT(bench.exemplar_ids(0), ElementsAre("t3", "t2", "t0"));
  bench.first_right["train 0"] = 99;
  bench.first_right["train 2"] = 2;  // the third try
  EXPECT_THAT(bench.exemplar_ids(0), ElementsAre("t4", "t3", "t2"));
  bench.options.medprompt_tries = 2;
  EXPECT_THAT(bench.exemplar_ids(0), ElementsAre("t5", "t4", "t3"));
  bench.options.medprompt_candidates = 4;
  EXPECT_THAT(bench.exemplar_ids(0), ElementsAre("t3")) << "no candidate left";
}

TEST(MedPrompt, TriesAreGreedyThenSampledByKey) {
  Bench bench;
  bench.first_right["train 0"] = 1;
  const auto reasonings = reason(bench.tasks, {{0, 0}, {0, 1}}, bench.options, bench.model);
  EXPECT_TRUE(reasonings[0].is_kept && reasonings[1].is_kept);
  EXPECT_EQ(reasonings[0].num_tries, 3);
  EXPECT_EQ(reasonings[1].num_tries, 1);
  EXPECT_EQ(reasonings[1].rationale, "Because of train 1, try 0.");
  EXPECT_TRUE(reasonings[0].rationale == "Because of train 0, try 1." ||
              reasonings[0].rationale == "Because of train 0, try 2.");
  ASSERT_EQ(bench.model.asked.size(), 3u);
  EXPECT_EQ(bench.model.asked[0].sampling.temperature, 0);
  EXPECT_EQ(bench.model.asked[2].sampling.temperature, 0.7);
  EXPECT_EQ(bench.model.asked[2].first_sample, 1);
  EXPECT_EQ(bench.model.asked[2].num_samples, 2);
  EXPECT_EQ(bench.model.asked[2].key, item_key(bench.tasks[0].train[0]));
  EXPECT_NE(bench.model.asked[0].key, bench.model.asked[1].key);
}

TEST(MedPrompt, PromptsHoldExemplarsAndShuffledOptionsOfTheItemOnly) {
  Bench bench;
  const TaskResults results = bench.run("whole");
  const auto orders = option_orders(bench.options.seed, bench.tasks[0].questions[0], 5);
  const ItemResult& item = results[0][0];
  ASSERT_EQ(item.votes.size(), 5u);
  const auto votes = score_task(bench.tasks[0], results[0]).items[0].result.votes;
  for (std::size_t v = 0; v < 5; ++v) {
    EXPECT_EQ(item.votes[v].order, orders[v]);
    EXPECT_EQ(votes[v].option, orders[v][1]) << "the script always says B";
  }
  const std::string prompt = prompts_of(bench.tasks[0], bench.tasks[0].questions[0], item.exemplars, bench.options)[1];
  EXPECT_THAT(prompt, HasSubstr("Question: train 2\nA. p\nB. q\nC. r\n"));
  EXPECT_THAT(prompt, HasSubstr("Reasoning: Because of train 0, try 0.\nAnswer: B\n\nQuestion: item 0\nA. "));
  EXPECT_LT(prompt.find("train 2"), prompt.find("train 1"));
  EXPECT_LT(prompt.find("train 1"), prompt.find("train 0"));
}

TEST(MedPrompt, EachPartCanBeSwitchedOff) {
  Bench bench;
  bench.options.medprompt_shuffle = false;
  EXPECT_EQ(bench.run("no-shuffle")[0][0].votes.size(), 1u);
  bench.options.medprompt_cot = false;
  bench.tasks[0].prompt = load_prompt("few-shot", FileFormat::generic);
  bench.model.asked.clear();
  const TaskResults direct = bench.run("no-cot");
  EXPECT_EQ(bench.model.asked.size(), 3u) << "one text per item, none for exemplars";
  EXPECT_THAT(bench.model.asked[0].prompt,
              HasSubstr("Question: train 0\nA. p\nB. q\nC. r\nAnswer: B\n\nQuestion: item"));
  bench.options.medprompt_knn = false;
  std::set<std::vector<std::string>> drawn;
  for (std::size_t item = 0; item < 3; ++item) {
    const auto ids = bench.exemplar_ids(item);
    EXPECT_EQ(std::set<std::string>(ids.begin(), ids.end()).size(), 3u);
    EXPECT_EQ(bench.exemplar_ids(item), ids);
    drawn.insert(ids);
  }
  EXPECT_GT(drawn.size(), 1u) << "items draw their own exemplars";
}

TEST(MedPrompt, EqualSimilarityGoesToTheLowerIndexAndZeroVectorsAreLast) {
  const Vectors train = {{0, 0}, {0, 2}, {3, 0}, {1, 0}, {1, 1}};
  EXPECT_THAT(nearest({{1, 0}}, train, 5)[0], ElementsAre(2, 3, 4, 1, 0));
  EXPECT_THAT(nearest({{1, 0}}, train, 2)[0], ElementsAre(2, 3));
  EXPECT_THROW(nearest({{1, 0, 0}}, train, 1), DataError);
}

std::string dump(const std::vector<Task>& tasks, const TaskResults& results) {
  std::string text;
  for (const ItemResult& result : results[0]) text += json_of(tasks[0], result).dump() + "\n";
  return text;
}

TEST(RunTasks, GoesOnFromWhateverAKillLeft) {
  Bench bench;
  bench.first_right["train 1"] = 1;
  const std::string whole = dump(bench.tasks, bench.run("whole"));
  const std::size_t num_asked = bench.model.asked.size();
  const std::string journal = (bench.folder / "whole" / "rank_00000.jsonl").string();
  std::ifstream file(journal, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), {});
  for (std::size_t size = 0; size <= bytes.size(); size += 37) {
    const std::string name = "cut" + std::to_string(size);
    fs::create_directories(bench.folder / name);
    std::ofstream(bench.folder / name / "rank_00003.jsonl", std::ios::binary) << bytes.substr(0, size);
    bench.model.asked.clear();
    EXPECT_EQ(dump(bench.tasks, bench.run(name)), whole) << size;
    EXPECT_LE(bench.model.asked.size(), num_asked);
  }
  bench.model.asked.clear();
  EXPECT_EQ(dump(bench.tasks, bench.run("whole")), whole);
  EXPECT_TRUE(bench.model.asked.empty()) << "all of it stands in the journal";
}

TEST(RunTasks, StopsBetweenGroupsAndGoesOn) {
  Bench bench;
  bench.options.strategy = config::Strategy::cot_sc;
  bench.options.shots = 0;
  int num_rounds = 0;
  Team stopping{.ranks = comm::self_group(), .wants_stop = [&] { return ++num_rounds > 1; }};
  EXPECT_THROW(run_tasks(bench.tasks, bench.options, bench.model, stopping, (bench.folder / "stop").string()),
               StopRequested);
  EXPECT_EQ(bench.model.asked.size(), 2u) << "one group of two items";
  const TaskResults results = bench.run("stop");
  EXPECT_EQ(bench.model.asked.size(), 3u) << "and the third item, nothing twice";
  EXPECT_EQ(results[0][2].votes.size(), 5u);
  EXPECT_EQ(bench.model.asked[2].num_samples, 5);
}

TEST(RunTasks, GroupsHoldEveryItemOnceLongestFirst) {
  std::vector<Task> tasks(2);
  for (int i = 0; i < 7; ++i)
    tasks[0].questions.push_back({.text = std::string(static_cast<std::size_t>(10 + 7 * i % 5), 'x')});
  for (int i = 0; i < 4; ++i) tasks[1].questions.push_back({.text = std::string(100, 'y')});
  const auto groups = plan_groups(tasks, 3);
  EXPECT_EQ(groups.size(), 5u);
  std::set<std::pair<std::size_t, std::size_t>> seen;
  for (const auto& group : groups)
    for (const ItemRef& ref : group) EXPECT_TRUE(seen.insert({ref.task, ref.item}).second);
  EXPECT_EQ(seen.size(), 11u);
  EXPECT_EQ(groups[0][0].task, 1u);
}

}  // namespace
}  // namespace osler::eval
