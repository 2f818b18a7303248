#include "plan/study.hpp"

#include <algorithm>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.hpp"

namespace osler::plan {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

config::StudyOptions study() {
  config::StudyOptions options;
  options.dir = "out";
  options.pretrain = "cpt.ini";
  options.tokens = {4000, 10'000};
  options.finetune = "ft.ini";
  options.neftune_alpha = {0, 5};
  options.evaluate_common = "tasks.ini";
  options.evaluate = {{"zero-shot", "zs.ini"}, {"cot", "cot.ini"}};
  options.evaluate_finetuned = "chat.ini";
  return options;
}

StudyPiece find(const std::vector<StudyPiece>& pieces, const std::string& name) {
  const auto found =
      std::find_if(pieces.begin(), pieces.end(), [&](const StudyPiece& piece) { return piece.name == name; });
  return found == pieces.end() ? StudyPiece{} : *found;
}

TEST(Study, EachPointIsAskedFineTunedAndAskedAgain) {
  const auto pieces = study_pieces(study(), {.tokens_per_step = 1000, .steps = 12, .from = "models/base"});
  // per model 2 questions' ways; P^0, P^4k, P^10k, each with two fine-tunings: 9 models, 2 segments, 6 fine-tunings
  EXPECT_EQ(pieces.size(), 9 * 2 + 2 + 6);
  std::set<std::string> seen;
  for (const StudyPiece& piece : pieces) {
    for (const std::string& before : piece.after) EXPECT_TRUE(seen.contains(before)) << piece.name << " " << before;
    EXPECT_TRUE(seen.insert(piece.name).second) << piece.name;
  }
  const StudyPiece second = find(pieces, "pretrain/10k");
  EXPECT_THAT(second.after, ElementsAre("pretrain/4k"));
  EXPECT_THAT(second.arguments, ElementsAre("--config=cpt.ini", "--run.dir=out/pretrain", "--run.stop_at_step=10",
                                            "--checkpoint.keep_step=4", "--checkpoint.keep_step=10"));
  EXPECT_EQ(second.done, "out/pretrain/checkpoints/step_000000010/manifest.json");
  EXPECT_EQ(second.steps, 6);
  const StudyPiece tuned = find(pieces, "finetune/4k-f-n5");
  EXPECT_THAT(tuned.after, ElementsAre("pretrain/4k"));
  EXPECT_THAT(tuned.arguments, ElementsAre("--config=ft.ini", "--model.from=out/pretrain/checkpoints/step_000000004",
                                           "--neftune.alpha=5", "--run.dir=out/finetune/4k-f-n5"));
  EXPECT_EQ(tuned.done, "out/finetune/4k-f-n5/done");
  const StudyPiece asked = find(pieces, "evaluate/4k-f-n5/cot");
  EXPECT_THAT(asked.after, ElementsAre("finetune/4k-f-n5"));
  EXPECT_THAT(asked.arguments,
              ElementsAre("--config=tasks.ini", "--config=cot.ini", "--config=chat.ini",
                          "--eval.model=out/finetune/4k-f-n5", "--eval.output=out/evaluate/4k-f-n5/cot"));
  const StudyPiece base = find(pieces, "evaluate/0/cot");
  EXPECT_THAT(base.after, IsEmpty());
  EXPECT_THAT(base.arguments, ElementsAre("--config=tasks.ini", "--config=cot.ini", "--eval.model=models/base",
                                          "--eval.output=out/evaluate/0/cot"));
}

TEST(Study, RandomWeightsAreNotAsked) {
  for (const StudyPiece& piece : study_pieces(study(), {.tokens_per_step = 1000, .steps = 12}))
    EXPECT_FALSE(piece.name.starts_with("evaluate/0/") || piece.name.starts_with("finetune/0-")) << piece.name;
}

TEST(Study, PointsAreReachedInTheStepThatHasSeenThem) {
  const auto pieces = study_pieces(study(), {.tokens_per_step = 3000, .steps = 4});
  EXPECT_EQ(find(pieces, "pretrain/4k").steps, 2);
  EXPECT_EQ(find(pieces, "pretrain/10k").steps, 2);
}

TEST(Study, RefusesPointsThatPretrainingDoesNotTellApart) {
  const auto message = [](std::int64_t tokens_per_step, std::int64_t steps) {
    try {
      study_pieces(study(), {.tokens_per_step = tokens_per_step, .steps = steps});
    } catch (const ConfigError& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  EXPECT_THAT(message(1000, 9), HasSubstr("10000 are behind the 9000 (9 steps of 1000) of cpt.ini"));
  EXPECT_THAT(message(20'000, 9), HasSubstr("10000 are reached in the same step 1"));
}

TEST(Study, LabelsAreExact) {
  EXPECT_EQ(token_label(50'000'000'000), "50B");
  EXPECT_EQ(token_label(50'500'000'000), "50500M");
  EXPECT_EQ(token_label(717'824), "717824");
  EXPECT_EQ(token_label(1000), "1k");
}

TEST(Study, PiecesAreLinesOfTabbedFields) {
  EXPECT_EQ(
      pieces_text(
          {{.name = "n", .after = {"a", "b"}, .verb = "pretrain", .arguments = {"--x=1", "--y=a b"}, .done = "d"}}),
      "n\ta b\td\tpretrain\t--x=1\t--y=a b\n");
}

}  // namespace
}  // namespace osler::plan
