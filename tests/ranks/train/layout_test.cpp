// Every layout of the ranks equals one rank: logits, each gradient, their norm and twenty training steps, for Mistral
// and Mixtral, packed documents, accumulation, router losses and every kind of recompute. The reference is computed by
// every rank on its own, from the same keyed weights.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <map>

#include "comm/mesh_groups.hpp"
#include "loss/cross_entropy.hpp"
#include "loss/router_loss.hpp"
#include "model/model.hpp"
#include "optim/adamw.hpp"
#include "parallel/regions.hpp"
#include "support/ranks_world.hpp"

namespace osler::train {
namespace {

constexpr std::int64_t kLength = 24, kSteps = 20;

config::ModelConfig model_config(bool is_mixture) {
  config::ModelConfig config;
  config.vocab_size = 96;
  config.hidden_size = 32;
  config.intermediate_size = 24;
  config.num_layers = 2;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 8;
  config.max_position_embeddings = kLength;
  config.rms_norm_eps = 1e-5;
  config.rope_theta = 1e4;
  config.initializer_range = 0.1;
  if (is_mixture) {
    config.is_mixture = true;
    config.num_experts = 8;
    config.top_k = 2;
  }
  return config;
}

struct Layout {
  std::int64_t tp = 1, ep = 1;
  config::Recompute recompute = config::Recompute::none;
};

plan::Mesh mesh_of(std::int64_t world, const Layout& layout) {
  return {.world = world,
          .tp = layout.tp,
          .dp = world / layout.tp,
          .ep = layout.ep,
          .edp = world / layout.ep,
          .accumulation_steps = 1};
}

/// One micro-batch is one sequence of three documents; what it holds depends on its number alone.
struct Sequence {
  at::Tensor tokens, labels, positions;
  model::AttentionLayout layout;
};

Sequence sequence(std::int64_t step, std::int64_t number) {
  const at::Tensor at = at::arange(kLength + 1, at::kLong);
  const at::Tensor all = (at * at * 7 + at * 5 + number * 31 + step * 17).remainder(96);
  Sequence result;
  result.tokens = all.narrow(0, 0, kLength).contiguous();
  result.labels = all.narrow(0, 1, kLength).contiguous();
  std::vector<at::Tensor> positions;
  for (const auto& [begin, length] : {std::pair<std::int64_t, std::int64_t>{0, 7}, {7, 12}, {19, 5}}) {
    result.layout.segments.push_back({.begin = begin, .length = length});
    positions.push_back(at::arange(length, at::kLong));
    result.labels[begin + length - 1] = loss::kIgnoreLabel;
  }
  result.layout.num_rows = kLength;
  result.positions = at::cat(positions);
  return result;
}

/// What a run is compared by; everything whole and equal on all ranks.
struct Outcome {
  std::vector<at::Tensor> logits_TV;  ///< of the first step, by sequence
  std::map<std::string, at::Tensor> gradients;
  double grad_norm = 0;
  std::vector<double> losses;
  std::map<std::string, at::Tensor> weights;
};

class Run {
 public:
  Run(const config::ModelConfig& config, const comm::MeshGroups& groups, config::Recompute recompute,
      at::ScalarType type, std::int64_t num_sequences)
      : config_(config),
        groups_(groups),
        num_sequences_(num_sequences),
        store_(plan::parameter_specs_of_rank(config, groups.mesh(), groups.world().rank()),
               at::TensorOptions().dtype(type), {.dense = groups.mesh().dp, .experts = groups.mesh().edp}) {
    model::initialize(store_, config, 3);
    store_.allocate_grad();
    model_ = std::make_unique<model::Model>(config, store_, recompute, groups);
    optimizer_ = std::make_unique<optim::AdamW>(store_, groups, config::OptimOptions());
  }

  Outcome run() {
    Outcome outcome;
    for (std::int64_t step = 1; step <= kSteps; ++step) {
      store_.zero_grad();
      outcome.losses.push_back(pass(step, step == 1 ? &outcome.logits_TV : nullptr));
      if (step == 1) outcome.gradients = whole([](const parallel::Parameter& p) { return p.grad; }, /*sum=*/true);
      optimizer_->reduce_gradients();
      const double norm = optimizer_->compute_grad_norm();
      if (step == 1) outcome.grad_norm = norm;
      optimizer_->step(step, 3e-3, std::min(1.0, 1.0 / (norm + 1e-6)));
    }
    outcome.weights = whole([](const parallel::Parameter& p) { return p.data; }, /*sum=*/false);
    return outcome;
  }

 private:
  /// Forward and backward over this rank's sequences. -> the objective, the same on all ranks
  double pass(std::int64_t step, std::vector<at::Tensor>* logits_TV) {
    const std::int64_t num_local = num_sequences_ / groups_.dp().size(), first = num_local * groups_.dp().rank();
    const double token_scale = 1.0 / static_cast<double>(num_sequences_ * (kLength - 3));
    double objective = 0;
    for (std::int64_t i = first; i < first + num_local; ++i) {
      const Sequence row = sequence(step, i);
      // Where gradients are wanted before their reduction, it must not start by itself.
      std::function<void(std::int64_t)> start;
      if (step > 1 && i + 1 == first + num_local)
        start = [this](std::int64_t layer) { optimizer_->start_reduction(layer); };
      const auto output = model_->forward(row.tokens, row.positions, row.layout, {}, start);
      const auto token = loss::cross_entropy(output.hidden_RD, model_->head(), row.labels, token_scale, groups_.tp());
      at::Tensor total = token.scaled;
      if (config_.is_mixture) {
        const auto router = loss::router_loss(output.router.logits_RE, output.router.expert_RK, config_.num_experts,
                                              config_.top_k, config::AuxLoss::hf, true, groups_.tp());
        total = total + (0.02 * router.aux + 1e-3 * router.z) / static_cast<double>(num_sequences_);
      }
      if (logits_TV != nullptr) logits_TV->push_back(logits(output.hidden_RD));
      total.backward();
      objective += total.item<double>();
    }
    if (logits_TV != nullptr) *logits_TV = from_all_dp(*logits_TV);
    return groups_.dp().all_reduce_value(objective, comm::ReduceOp::sum);
  }

  at::Tensor logits(const at::Tensor& hidden_RD) const {
    const at::NoGradGuard no_grad;
    const at::Tensor local = parallel::gather_rows(hidden_RD, groups_.tp()).mm(model_->head().data.t());
    at::Tensor whole = at::zeros({kLength, config_.vocab_size}, local.options());
    whole.narrow(1, model_->head().spec.offset[0], local.size(1)).copy_(local);
    groups_.tp().all_reduce(whole, comm::ReduceOp::sum);
    return whole;
  }

  std::vector<at::Tensor> from_all_dp(const std::vector<at::Tensor>& mine) const {
    const at::Tensor own = at::stack(mine);
    std::vector<std::int64_t> shape = own.sizes().vec();
    shape[0] *= groups_.dp().size();
    at::Tensor all = at::empty(shape, own.options());
    groups_.dp().all_gather(all, own);
    return all.unbind(0);
  }

  /// Every parameter's whole tensor: what the ranks hold, each at its place; added up, or (weights, which several ranks
  /// hold alike) taken from one.
  template <class Value>
  std::map<std::string, at::Tensor> whole(const Value& value, bool sum) const {
    std::map<std::string, at::Tensor> result;
    for (const auto& spec : plan::parameter_specs(config_)) {
      const auto type =
          sum ? store_.parameters().front().grad.scalar_type() : store_.parameters().front().data.scalar_type();
      at::Tensor full = at::zeros(spec.shape, type);
      if (!sum) full.fill_(-1e30);
      if (store_.contains(spec.name)) {
        const parallel::Parameter& parameter = store_[spec.name];
        at::Tensor part = full;
        for (std::size_t dim = 0; dim < spec.shape.size(); ++dim)
          part = part.narrow(static_cast<std::int64_t>(dim), parameter.spec.offset[dim], parameter.spec.extent[dim]);
        part.copy_(value(parameter));
      }
      groups_.world().all_reduce(full, sum ? comm::ReduceOp::sum : comm::ReduceOp::max);
      result[spec.name] = full;
    }
    return result;
  }

  config::ModelConfig config_;
  const comm::MeshGroups& groups_;
  std::int64_t num_sequences_;
  parallel::ParameterStore store_;
  std::unique_ptr<model::Model> model_;
  std::unique_ptr<optim::AdamW> optimizer_;
};

comm::Group& ranks() {
  return tests::world().host();
}

std::int64_t num_sequences() {
  return ranks().size() == 3 ? 6 : 8;
}

const Outcome& reference(bool is_mixture, at::ScalarType type) {
  static std::map<std::pair<bool, at::ScalarType>, Outcome> known;
  auto& outcome = known[{is_mixture, type}];
  if (outcome.losses.empty())
    outcome = Run(model_config(is_mixture), comm::single(), config::Recompute::none, type, num_sequences()).run();
  return outcome;
}

double distance(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor wide = b.to(at::kDouble);
  return ((a.to(at::kDouble) - wide).norm() / wide.norm().clamp_min(1e-30)).item<double>();
}

void expect_equal(const Outcome& outcome, const Outcome& expected, double tolerance) {
  for (std::size_t i = 0; i < expected.logits_TV.size(); ++i)
    EXPECT_LT(distance(outcome.logits_TV[i], expected.logits_TV[i]), tolerance) << "logits of sequence " << i;
  for (const auto& [name, gradient] : expected.gradients)
    EXPECT_LT(distance(outcome.gradients.at(name), gradient), tolerance) << "gradient of " << name;
  EXPECT_NEAR(outcome.grad_norm / expected.grad_norm, 1, tolerance);
  for (std::size_t step = 0; step < expected.losses.size(); ++step)
    EXPECT_NEAR(outcome.losses[step] / expected.losses[step], 1, tolerance) << "loss of step " << step + 1;
  for (const auto& [name, weight] : expected.weights)
    EXPECT_LT(distance(outcome.weights.at(name), weight), 100 * tolerance) << "weights of " << name;
}

std::vector<Layout> layouts(bool is_mixture) {
  std::vector<Layout> result;
  for (const std::int64_t tp : {1, 2, 4}) {
    for (const std::int64_t ep : {1, 2, 4, 8}) {
      if (ranks().size() % tp != 0 || ranks().size() % ep != 0 || (!is_mixture && ep > 1)) continue;
      for (const auto recompute : {config::Recompute::none, config::Recompute::selective, config::Recompute::full})
        result.push_back({tp, ep, recompute});
    }
  }
  return result;
}

void expect_all_layouts_equal(bool is_mixture, at::ScalarType type, double tolerance) {
  const Outcome& expected = reference(is_mixture, type);
  for (const Layout& layout : layouts(is_mixture)) {
    SCOPED_TRACE(testing::Message() << "tp " << layout.tp << " ep " << layout.ep << " recompute "
                                    << config::name_of(layout.recompute));
    const comm::MeshGroups groups(ranks(), mesh_of(ranks().size(), layout));
    expect_equal(Run(model_config(is_mixture), groups, layout.recompute, type, num_sequences()).run(), expected,
                 tolerance);
  }
}

// Norms and the router's softmax are in fp32 also in fp64 models, row by row and so the same in every layout; all sums
// across rows and ranks are in fp64.
TEST(Layouts, OfMistralEqualOneRankInFp64) {
  expect_all_layouts_equal(false, at::kDouble, 1e-9);
}
TEST(Layouts, OfMixtralEqualOneRankInFp64) {
  expect_all_layouts_equal(true, at::kDouble, 1e-9);
}
TEST(Layouts, OfMistralEqualOneRankInFp32) {
  expect_all_layouts_equal(false, at::kFloat, 1e-5);
}
TEST(Layouts, OfMixtralEqualOneRankInFp32) {
  expect_all_layouts_equal(true, at::kFloat, 1e-5);
}

}  // namespace
}  // namespace osler::train
