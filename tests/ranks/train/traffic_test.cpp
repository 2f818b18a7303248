// The bytes that a step sends over each axis, as the groups count them, are those of `osler plan`, to the byte and on
// every rank: every layout, kind of recompute, dtype and router loss. How many rows leave for other experts is the
// router's choice, so plan is told.
#include <gtest/gtest.h>

#include "plan/shard_table.hpp"
#include "plan/traffic.hpp"
#include "ranks/train/layout_run.hpp"
#include "support/ranks_world.hpp"

namespace osler::train {
namespace {

constexpr plan::Axis kAxes[] = {plan::Axis::tp, plan::Axis::ep, plan::Axis::dp, plan::Axis::edp};
using Bytes = std::map<plan::Axis, std::int64_t>;

comm::Group& ranks() {
  return tests::world().host();
}

Bytes counted(const comm::MeshGroups& groups, const std::vector<plan::Replicated>& replicated) {
  Bytes bytes{{plan::Axis::tp, groups.tp().traffic().total()},
              {plan::Axis::ep, groups.ep().traffic().total()},
              {plan::Axis::dp, groups.dp().traffic().total()},
              {plan::Axis::edp, groups.edp().traffic().total()}};
  for (const plan::Replicated& part : replicated) {
    if (part.replicas == groups.mesh().tp) continue;
    bytes[plan::Axis::tp] += groups.replicas(part.replicas).traffic().total();  // a part of tp, the same for all layers
    break;
  }
  return bytes;
}

/// What this rank sent to other ep ranks and got from them.
plan::RoutedRows routed_rows(const LayoutRun& run, comm::Group& ep) {
  const at::Tensor rows_P = run.rows_to().sum(0);
  at::Tensor rows_PP = at::empty({ep.size(), ep.size()}, at::kLong);  // by sender and receiver
  ep.all_gather(rows_PP, rows_P);
  const auto own = rows_P[ep.rank()].item<std::int64_t>();
  return {.sent = static_cast<double>(rows_P.sum().item<std::int64_t>() - own),
          .received = static_cast<double>(rows_PP.select(1, ep.rank()).sum().item<std::int64_t>() - own)};
}

void expect_step_as_planned(const config::ModelConfig& model, const comm::MeshGroups& groups,
                            config::Recompute recompute, at::ScalarType type, const config::RouterOptions& router,
                            std::int64_t accumulation_steps) {
  LayoutRun run(model, groups, recompute, type, accumulation_steps * groups.mesh().dp, router);
  const auto replicated = plan::share_of_rank(model, groups.mesh()).replicated;
  const Bytes before = counted(groups, replicated);
  run.step(1);
  const Bytes after = counted(groups, replicated);

  const plan::ForecastInput input = run.forecast_input();
  const plan::Mesh mesh = plan::build_mesh(ranks().size(), model, input.parallel, input.data);
  const auto planned = plan::traffic_of_step(input, mesh, routed_rows(run, groups.ep()), ranks().rank());
  for (const plan::Axis axis : kAxes)
    EXPECT_EQ(static_cast<double>(after.at(axis) - before.at(axis)), plan::traffic_bytes(planned, axis))
        << plan::name_of(axis);
}

/// Calls `work(groups)` for every layout of the ranks.
template <class Work>
void for_each_layout(bool is_mixture, const Work& work) {
  for (const std::int64_t tp : {1, 2, 4}) {
    for (const std::int64_t ep : {1, 2, 4, 8}) {
      if (ranks().size() % tp != 0 || ranks().size() % ep != 0 || (!is_mixture && ep > 1)) continue;
      SCOPED_TRACE(testing::Message() << "tp " << tp << " ep " << ep);
      work(comm::MeshGroups(ranks(), mesh_of(ranks().size(), tp, ep)));
    }
  }
}

TEST(Traffic, OfEveryLayoutRecomputeAndTypeIsAsPlanned) {
  for (const bool is_mixture : {false, true}) {
    for_each_layout(is_mixture, [&](const comm::MeshGroups& groups) {
      for (const auto recompute : {config::Recompute::none, config::Recompute::selective, config::Recompute::full}) {
        for (const auto type : {at::kDouble, at::kFloat, at::kBFloat16}) {
          SCOPED_TRACE(testing::Message() << (is_mixture ? "Mixtral " : "Mistral ") << c10::toString(type)
                                          << " recompute " << config::name_of(recompute));
          expect_step_as_planned(small_model(is_mixture), groups, recompute, type, kRouter, 1);
        }
      }
    });
  }
}

TEST(Traffic, OfEveryRouterLossIsAsPlanned) {
  for_each_layout(/*is_mixture=*/true, [&](const comm::MeshGroups& groups) {
    if (groups.mesh().ep > 1) return;  // they are sums over tp
    for (const auto aux : {config::AuxLoss::off, config::AuxLoss::hf, config::AuxLoss::megatron}) {
      for (const double z : {0.0, 1e-3}) {
        SCOPED_TRACE(testing::Message() << "aux " << config::name_of(aux) << " z " << z);
        expect_step_as_planned(small_model(true), groups, config::Recompute::none, at::kFloat,
                               {.aux_loss = aux, .aux_coefficient = 0.02, .z_coefficient = z}, 2);
      }
    }
  });
}

// Widths that no alignment divides, and one key-value head on all tp ranks.
TEST(Traffic, OfOddShapesIsAsPlanned) {
  for (const bool is_mixture : {false, true}) {
    config::ModelConfig odd = small_model(is_mixture);
    odd.hidden_size = 12;
    odd.intermediate_size = 20;
    odd.num_kv_heads = 1;
    odd.head_dim = 6;
    for_each_layout(is_mixture, [&](const comm::MeshGroups& groups) {
      expect_step_as_planned(odd, groups, config::Recompute::none, at::kFloat, kRouter, 3);
    });
  }
}

// A vocabulary so large that the loss takes its 264 rows in chunks of 128, 128 and 8.
TEST(Traffic, OfALossInSeveralChunksIsAsPlanned) {
  if (ranks().size() != 2) GTEST_SKIP() << "two ranks say it";
  config::ModelConfig wide = small_model(false);
  wide.max_position_embeddings = 24 * 11;
  wide.vocab_size = 70000;
  expect_step_as_planned(wide, comm::MeshGroups(ranks(), mesh_of(2, 2, 1)), config::Recompute::none, at::kDouble,
                         kRouter, 1);
}

}  // namespace
}  // namespace osler::train
