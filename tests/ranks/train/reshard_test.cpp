// What one layout saves, every other loads: all pairs. Weights, masters and moments come back bit for bit, and training
// goes on with the same losses; on the same layout they are equal to the last bit.
#include <gtest/gtest.h>

#include <filesystem>

#include "checkpoint/checkpoint.hpp"
#include "ranks/train/layout_run.hpp"
#include "support/ranks_world.hpp"
#include "support/temporary_folder.hpp"

namespace osler::train {
namespace {

constexpr std::int64_t kStepsBefore = 3, kStepsAfter = 5;
constexpr double kTolerance = 1e-9;  // fp64 sums in another order

comm::Group& ranks() {
  return tests::world().host();
}

std::int64_t num_sequences() {
  return ranks().size() == 3 ? 6 : 8;
}

/// A layout over the first `world` ranks.
struct Layout {
  std::int64_t world, tp, ep;
};
std::vector<Layout> layouts() {
  std::vector<Layout> fitting;
  for (const Layout& layout : std::vector<Layout>{{1, 1, 1},
                                                  {2, 1, 1},
                                                  {2, 2, 1},
                                                  {2, 1, 2},
                                                  {2, 2, 2},
                                                  {3, 1, 1},
                                                  {4, 4, 1},
                                                  {4, 2, 4},
                                                  {4, 1, 2},
                                                  {8, 1, 8},
                                                  {8, 4, 2},
                                                  {8, 2, 4}}) {
    const bool deals_evenly = num_sequences() % (layout.world / layout.tp) == 0;
    const bool is_new = ranks().size() < 8 || layout.world != 2 || layout.tp * layout.ep == 4;  // 8 ranks: 9 layouts
    if (layout.world <= ranks().size() && deals_evenly && is_new) fitting.push_back(layout);
  }
  return fitting;
}

/// The losses of the steps after `kStepsBefore`.
std::vector<double> go_on(LayoutRun& run) {
  std::vector<double> losses;
  for (std::int64_t step = kStepsBefore + 1; step <= kStepsBefore + kStepsAfter; ++step)
    losses.push_back(run.step(step));
  return losses;
}

/// What a layout saved, and how it went on.
struct Saved {
  std::string directory;
  std::map<std::string, at::Tensor> state;
  std::vector<double> losses;
};

/// Calls `work(groups)` on the ranks of `layout`; the others wait.
template <class Work>
void on_layout(const Layout& layout, const Work& work) {
  const bool takes_part = ranks().rank() < layout.world;
  const auto members = ranks().split(takes_part ? 0 : 1, ranks().rank());
  if (takes_part) work(comm::MeshGroups(*members, mesh_of(layout.world, layout.tp, layout.ep)));
  ranks().barrier();
}

LayoutRun make_run(const comm::MeshGroups& groups) {
  return LayoutRun(small_model(true), groups, config::Recompute::none, at::kDouble, num_sequences());
}

Saved train_and_save(const Layout& layout, const std::string& root) {
  Saved saved;
  on_layout(layout, [&](const comm::MeshGroups& groups) {
    LayoutRun run = make_run(groups);
    for (std::int64_t step = 1; step <= kStepsBefore; ++step) run.step(step);
    checkpoint::SaveRequest request;
    request.root = root;
    request.tensors = run.optimizer().state();
    request.state.step = kStepsBefore;
    saved.directory = checkpoint::save(groups.world(), request);
    saved.state = run.whole_state();
    saved.losses = go_on(run);
  });
  // Those that took no part compare too, when they load.
  saved.directory = ranks().broadcast_bytes(saved.directory, 0);
  at::Tensor losses =
      ranks().rank() == 0 ? at::tensor(saved.losses, at::kDouble) : at::empty({kStepsAfter}, at::kDouble);
  ranks().broadcast(losses, 0);
  saved.losses.assign(losses.data_ptr<double>(), losses.data_ptr<double>() + kStepsAfter);
  for (const auto& spec : plan::parameter_specs(small_model(true)))
    for (const char* group : {"optim/master/", "optim/exp_avg/", "optim/exp_avg_sq/"}) {
      at::Tensor& tensor = saved.state[group + spec.name];
      if (!tensor.defined()) tensor = at::empty(spec.shape, at::kDouble);
      ranks().broadcast(tensor, 0);
    }
  return saved;
}

void load_and_compare(const Layout& layout, const Saved& saved, bool is_same_layout) {
  on_layout(layout, [&](const comm::MeshGroups& groups) {
    LayoutRun run = make_run(groups);
    checkpoint::Reader(saved.directory).load(run.optimizer().state());
    run.optimizer().publish_weights();
    for (const auto& [name, tensor] : run.whole_state()) EXPECT_TRUE(at::equal(tensor, saved.state.at(name))) << name;
    const std::vector<double> losses = go_on(run);
    for (std::size_t i = 0; i < losses.size(); ++i) {
      if (is_same_layout) {
        EXPECT_EQ(losses[i], saved.losses[i]) << "step " << kStepsBefore + 1 + i;
      }
      EXPECT_NEAR(losses[i] / saved.losses[i], 1, kTolerance) << "step " << kStepsBefore + 1 + i;
    }
  });
}

TEST(Reshard, EveryLayoutLoadsWhatEveryOtherSaved) {
  const tests::TemporaryFolder own;
  const std::string root = ranks().broadcast_bytes(own.path(), 0);
  const std::vector<Layout> all = layouts();
  for (std::size_t from = 0; from < all.size(); ++from) {
    const Saved saved = train_and_save(all[from], root + "/" + std::to_string(from));
    for (std::size_t to = 0; to < all.size(); ++to) {
      SCOPED_TRACE(testing::Message() << "world " << all[from].world << " tp " << all[from].tp << " ep " << all[from].ep
                                      << " -> world " << all[to].world << " tp " << all[to].tp << " ep " << all[to].ep);
      load_and_compare(all[to], saved, from == to);
    }
  }
}

}  // namespace
}  // namespace osler::train
