// The most bytes of tensors that a rank holds at once in a training step are what `osler plan` says, within 10 %: both
// models, both dtypes of training, every kind of recompute, over tp, ep and dp.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <iostream>

#include "base/text_of.hpp"
#include "plan/memory.hpp"
#include "ranks/train/layout_run.hpp"
#include "support/counting_allocator.hpp"
#include "support/ranks_world.hpp"

namespace osler::train {
namespace {

constexpr double kTolerance = 0.10;
constexpr std::size_t kActivations = 3;  // after weights, gradients and optimizer

comm::Group& ranks() {
  return tests::world().host();
}

/// Large enough for tensors that grow with rows to be most of the memory, small enough for a fraction of a second. The
/// fullest moment is in the loss for Mistral and in the last layer's backward pass for Mixtral and full recompute.
config::ModelConfig middle_model(bool is_mixture) {
  config::ModelConfig config = small_model(is_mixture);
  config.vocab_size = is_mixture ? 256 : 2048;
  config.hidden_size = 128;
  config.intermediate_size = is_mixture ? 192 : 352;
  config.num_layers = 3;
  config.num_heads = 8;
  config.num_kv_heads = 4;
  config.head_dim = 16;
  config.max_position_embeddings = 768;
  if (is_mixture) config.num_experts = 4;
  return config;
}

std::string text_of_items(const std::vector<plan::MemoryItem>& items) {
  std::string text;
  for (const auto& item : items)
    text += text_of("  ", item.what, " ", std::lround(item.num_bytes / 1024), " KiB: ", item.formula, "\n");
  return text;
}

/// Rows of this rank's experts over the mean of all ep ranks, [micro-batches, layers].
at::Tensor imbalance_of(const LayoutRun& run, comm::Group& ep, std::int64_t num_layers) {
  at::Tensor rows_P = run.rows_to().to(at::kDouble);
  ep.all_reduce(rows_P, comm::ReduceOp::sum);
  return (rows_P.select(1, ep.rank()) / rows_P.mean(1)).view({-1, num_layers});
}

std::vector<plan::MemoryItem> planned_at(plan::ForecastInput input, const plan::Mesh& mesh, double imbalance) {
  input.imbalance = imbalance;
  return plan::memory_of_rank(input, mesh);
}

/// Plan takes one imbalance for all layers; a router has one for each. Of the fullest micro-batch: their mean, where
/// all layers keep their rows; with full recompute that of the layer under way, after which the layers above hold
/// nothing.
std::vector<plan::MemoryItem> planned_for(const LayoutRun& run, const comm::MeshGroups& groups) {
  const plan::ForecastInput input = run.forecast_input();
  const plan::Mesh& mesh = groups.mesh();
  const std::int64_t num_layers = input.model.num_layers;
  if (mesh.ep == 1) return plan::memory_of_rank(input, mesh);
  const at::Tensor imbalance = imbalance_of(run, groups.ep(), num_layers);
  if (input.parallel.recompute != config::Recompute::full)
    return planned_at(input, mesh, imbalance.mean(1).max().item<double>());
  std::vector<plan::MemoryItem> fullest;
  for (std::int64_t layer = 0; layer < num_layers; ++layer) {
    plan::ForecastInput below = input;
    below.model.num_layers = layer + 1;
    auto items = planned_at(input, mesh, imbalance.select(1, layer).max().item<double>());
    items.at(kActivations) = plan::memory_of_rank(below, mesh).at(kActivations);
    if (fullest.empty() || plan::total_bytes(items) > plan::total_bytes(fullest)) fullest = items;
  }
  return fullest;
}

void expect_peak_as_planned(bool is_mixture, const comm::MeshGroups& groups, config::Recompute recompute,
                            at::ScalarType type) {
  tests::CountingAllocator& counted = tests::CountingAllocator::installed();
  const std::int64_t before = counted.current_bytes();
  LayoutRun run(middle_model(is_mixture), groups, recompute, type, 2 * groups.mesh().dp);
  run.step(1);
  counted.forget_peak();
  run.step(2);
  const auto measured = static_cast<double>(counted.peak_bytes() - before);
  const auto items = planned_for(run, groups);
  const double ratio = plan::total_bytes(items) / measured;
  const std::string text =
      text_of(is_mixture ? "Mixtral " : "Mistral ", c10::toString(type), " tp ", groups.mesh().tp, " ep ",
              groups.mesh().ep, " dp ", groups.mesh().dp, " recompute ", config::name_of(recompute), ": measured ",
              std::lround(measured / 1024), " KiB, planned ", 100 * ratio, " % of it\n", text_of_items(items));
  if (std::getenv("OSLER_PRINT_MEMORY") && ranks().rank() == 0) std::cout << text;
  EXPECT_NEAR(ratio, 1, kTolerance) << text;
}

/// Layouts of 1, 2 and 4 ranks.
struct Layout {
  std::int64_t world, tp, ep;
  bool is_mixture;
};
const Layout kLayouts[] = {{1, 1, 1, false}, {1, 1, 1, true}, {2, 1, 1, false}, {2, 2, 1, false},
                           {2, 1, 2, true},  {2, 2, 1, true}, {2, 2, 2, true},  {4, 2, 1, false},
                           {4, 4, 1, false}, {4, 1, 4, true}, {4, 2, 2, true},  {4, 4, 1, true}};

TEST(Memory, AtThePeakOfAStepIsAsPlanned) {
  for (const Layout& layout : kLayouts) {
    if (layout.world != ranks().size()) continue;
    const comm::MeshGroups groups(ranks(), mesh_of(layout.world, layout.tp, layout.ep));
    bool is_fp32 = layout.tp == 1;
    for (const auto recompute : {config::Recompute::none, config::Recompute::selective, config::Recompute::full}) {
      // One rank takes both types, several take turns.
      for (const auto type : {at::kFloat, at::kBFloat16})
        if (layout.world == 1 || (type == at::kFloat) == is_fp32)
          expect_peak_as_planned(layout.is_mixture, groups, recompute, type);
      is_fp32 = !is_fp32;
    }
  }
}

// In fp64 rows go through LibTorch's operations, as on a GPU, with temporaries of their own.
TEST(Memory, WithLibTorchsRowOperationsIsAsPlanned) {
  if (ranks().size() != 1) return;
  for (const bool is_mixture : {false, true})
    for (const auto recompute : {config::Recompute::selective, config::Recompute::full})
      expect_peak_as_planned(is_mixture, comm::single(), recompute, at::kDouble);
}

}  // namespace
}  // namespace osler::train
