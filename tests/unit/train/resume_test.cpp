#include "train/resume.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.hpp"

namespace osler::train {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

checkpoint::RunState state() {
  checkpoint::RunState state;
  state.seed = 7;
  state.dtype = "fp32";
  state.data_fingerprint = "abc";
  state.model_config = R"({"hidden_size": 32, "torch_dtype": "float32"})";
  state.run_config = "[run]\nseed = 7\n[data]\nsource = a:1:x\nsource = b:2:y\nglobal_batch = 8\n";
  return state;
}

std::string complaint(const checkpoint::RunState& current, RouterLosses router_losses = RouterLosses::off,
                      ChangedData changed_data = ChangedData::refused, const std::string& tokenizer = "") {
  try {
    require_same_run(state(), {current, router_losses, changed_data, tokenizer}, "runs/a/checkpoints/step_000000010");
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

TEST(RequireSameRun, NoiseBelongsToTheRun) {
  checkpoint::RunState noisy = state();
  noisy.run_config += "[neftune]\nalpha = 5\n";
  EXPECT_THAT(complaint(noisy), HasSubstr("neftune.alpha: (absent) -> 5"));
}

TEST(Differences, NamesEveryKeyOnceWithBothValues) {
  EXPECT_THAT(differences("[a]\nx = 1\ny = 2\nz = 1\nz = 2\n", "[a]\nx = 1\ny = 3\nz = 1\n[b]\nw = 5\n"),
              ElementsAre("a.y: 2 -> 3", "a.z: 1, 2 -> 1", "b.w: (absent) -> 5"));
  EXPECT_THAT(differences("[a]\nold = 1\n", "# nothing\n"), ElementsAre("a.old: 1 -> (absent)"));
  EXPECT_THAT(differences(state().run_config, state().run_config), IsEmpty());
}

TEST(ModelDifferences, LeavesOutWhatSaversWriteDifferently) {
  const std::string stored = R"({"hidden_size": 32, "rope_theta": 1e4, "torch_dtype": "float32"})";
  EXPECT_THAT(model_differences(stored, R"({"hidden_size": 64, "dtype": "bfloat16"})"),
              ElementsAre("model hidden_size: 32 -> 64", "model rope_theta: 10000.0 -> (absent)"));
  EXPECT_THAT(model_differences(stored, stored), IsEmpty());
  EXPECT_THROW(model_differences(stored, "{"), DataError);
}

TEST(RequireSameRun, AcceptsWhatDoesNotChangeTheRun) {
  auto current = state();
  EXPECT_EQ(complaint(current), "");
  current.model_config = R"({"dtype": "bfloat16", "hidden_size": 32, "transformers_version": "5"})";
  current.run_config += "[optim]\nlearning_rate = 1\n";
  EXPECT_EQ(complaint(current), "");
}

TEST(RequireSameRun, ShowsWhatDiffers) {
  auto other_model = state();
  other_model.model_config = R"({"hidden_size": 64, "head_dim": 8})";
  EXPECT_THAT(complaint(other_model), HasSubstr("model hidden_size: 32 -> 64"));
  EXPECT_THAT(complaint(other_model), HasSubstr("model head_dim: (absent) -> 8"));
  EXPECT_THAT(complaint(other_model), HasSubstr("runs/a/checkpoints/step_000000010"));

  auto other_dtype = state();
  other_dtype.dtype = "bf16";
  EXPECT_THAT(complaint(other_dtype), HasSubstr("parallel.dtype: fp32 -> bf16"));

  auto other_data = state();
  other_data.data_fingerprint = "abd";
  other_data.run_config = "[run]\nseed = 7\n[data]\nsource = a:1:x\nsource = b:2:y\nglobal_batch = 16\n";
  EXPECT_THAT(complaint(other_data), HasSubstr("data.global_batch: 8 -> 16"));
  EXPECT_THAT(complaint(other_data, RouterLosses::off, ChangedData::accepted), HasSubstr("data.global_batch: 8 -> 16"));

  EXPECT_THAT(complaint(state(), RouterLosses::off, ChangedData::accepted, "tokenizer.model: sha256 a -> b"),
              HasSubstr("tokenizer.model: sha256 a -> b"));
  auto other_seed = state();
  other_seed.seed = 8;
  EXPECT_THAT(complaint(other_seed), HasSubstr("run.seed: 7 -> 8"));
}

TEST(RequireSameRun, OtherDataMayBeAcceptedAndAreNamed) {
  auto current = state();
  current.data_fingerprint = "abd";
  EXPECT_THAT(complaint(current),
              AllOf(HasSubstr("contents of the token shards"), HasSubstr("run.accept_changed_data=on")));
  current.run_config = "[run]\nseed = 7\n[data]\nsource = a:1:x\nsource = b:3:y\nglobal_batch = 8\n";
  EXPECT_THAT(complaint(current), HasSubstr("data.source: a:1:x, b:2:y -> a:1:x, b:3:y"));
  EXPECT_THAT(require_same_run(state(), {current, RouterLosses::off, ChangedData::accepted, ""}, "there"),
              ElementsAre("data.source: a:1:x, b:2:y -> a:1:x, b:3:y"));
  EXPECT_THAT(require_same_run(state(), {state(), RouterLosses::off, ChangedData::accepted, ""}, "there"), IsEmpty());
}

TEST(RequireSameRun, HoldsTheMicroBatchWhereItShapesTheObjective) {
  auto current = state();
  current.run_config += "micro_batch = 2\n";
  EXPECT_EQ(complaint(current, RouterLosses::off), "");
  EXPECT_THAT(complaint(current, RouterLosses::on),
              AllOf(HasSubstr("data.micro_batch: (absent) -> 2"), HasSubstr("router losses are means over micro")));
  EXPECT_EQ(complaint(state(), RouterLosses::on), "");
}

}  // namespace
}  // namespace osler::train
