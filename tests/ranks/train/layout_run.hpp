// A small model trained over any layout of any group of ranks, on sequences that depend on nothing but step and number:
// what the layout, reshard, traffic and memory tests compare.
#pragma once

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "comm/mesh_groups.hpp"
#include "loss/cross_entropy.hpp"
#include "loss/router_loss.hpp"
#include "model/model.hpp"
#include "optim/adamw.hpp"
#include "parallel/regions.hpp"
#include "plan/traffic.hpp"

namespace osler::train {

constexpr std::int64_t kLength = 24;
// Small enough for roundings not to grow until they change which expert a token goes to: top-k is not continuous.
constexpr double kLearningRate = 3e-4;

inline config::ModelConfig small_model(bool is_mixture) {
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

inline plan::Mesh mesh_of(std::int64_t world, std::int64_t tp, std::int64_t ep) {
  return {.world = world, .tp = tp, .dp = world / tp, .ep = ep, .edp = world / ep};
}

/// One micro-batch: one sequence of three documents, as long as the model allows.
struct Sequence {
  at::Tensor tokens, labels, positions;
  model::AttentionLayout layout;
};

inline Sequence sequence(const config::ModelConfig& config, std::int64_t step, std::int64_t number) {
  const std::int64_t length = config.max_position_embeddings, first = length * 7 / 24, second = length * 12 / 24;
  const at::Tensor at = at::arange(length + 1, at::kLong);
  const at::Tensor all = (at * at * 7 + at * 5 + number * 31 + step * 17).remainder(config.vocab_size);
  Sequence result;
  result.tokens = all.narrow(0, 0, length).contiguous();
  result.labels = all.narrow(0, 1, length).clone();
  std::vector<at::Tensor> positions;
  std::int64_t begin = 0;
  for (const std::int64_t document : {first, second, length - first - second}) {
    result.layout.segments.push_back({.begin = begin, .length = document});
    positions.push_back(at::arange(document, at::kLong));
    begin += document;
    result.labels[begin - 1] = loss::kIgnoreLabel;
  }
  result.layout.num_rows = length;
  result.positions = at::cat(positions);
  return result;
}

constexpr config::RouterOptions kRouter{.aux_coefficient = 0.02, .z_coefficient = 1e-3};

class LayoutRun {
 public:
  /// Over `groups`, which outlive this: `num_sequences` micro-batches a step, dealt over dp.
  LayoutRun(const config::ModelConfig& config, const comm::MeshGroups& groups, config::Recompute recompute,
            at::ScalarType type, std::int64_t num_sequences, const config::RouterOptions& router = kRouter)
      : config_(config),
        groups_(groups),
        num_sequences_(num_sequences),
        recompute_(recompute),
        router_(router),
        store_(plan::parameter_specs_of_rank(config, groups.mesh(), groups.world().rank()),
               at::TensorOptions().dtype(type), plan::sharers_of(groups.mesh())) {
    model::initialize(store_, config, 3);
    store_.allocate_grad();
    model_ = std::make_unique<model::Model>(config, store_, recompute, groups);
    optimizer_ = std::make_unique<optim::AdamW>(store_, groups, config::OptimOptions());
  }

  optim::AdamW& optimizer() { return *optimizer_; }
  parallel::ParameterStore& parameters() { return store_; }
  /// This rank's rows for the experts of each ep rank, [.., ep]: one entry a layer of a micro-batch, in their order.
  at::Tensor rows_to() const {
    return rows_to_P_.empty() ? at::zeros({0, groups_.ep().size()}, at::kLong) : at::stack(rows_to_P_);
  }
  /// What osler plan would be told of this run.
  plan::ForecastInput forecast_input() const {
    plan::ForecastInput input;
    input.model = config_;
    input.data.sequence_length = config_.max_position_embeddings;
    input.data.global_batch = num_sequences_;
    input.parallel = {.tp = groups_.mesh().tp, .ep = groups_.mesh().ep, .dtype = precision(), .recompute = recompute_};
    input.router = router_;
    input.cluster.gpu = "cpu";
    return input;
  }

  /// One whole step. -> the objective, the same on all ranks
  double step(std::int64_t step) {
    const double objective = forward_backward(step, /*overlap=*/true);
    optimizer_->reduce_gradients();
    finish_step(step);
    return objective;
  }
  /// -> the gradient's norm
  double finish_step(std::int64_t step) {
    const double norm = optimizer_->compute_grad_norm();
    optimizer_->step(step, kLearningRate, std::min(1.0, 1.0 / (norm + 1e-6)));
    return norm;
  }

  double forward_backward(std::int64_t step, bool overlap, std::vector<at::Tensor>* logits_TV = nullptr) {
    store_.zero_grad();
    const std::int64_t num_local = num_sequences_ / groups_.dp().size(), first = num_local * groups_.dp().rank();
    const std::function<void(std::int64_t)> start = [this](std::int64_t layer) { optimizer_->start_reduction(layer); };
    double objective = 0;
    for (std::int64_t i = first; i < first + num_local; ++i) {
      const Sequence row = sequence(config_, step, i);
      const bool starts = overlap && i + 1 == first + num_local;
      const auto output = model_->forward(row.tokens, row.positions, row.layout, {}, starts ? start : nullptr);
      const at::Tensor total = compute_loss(output, row);
      if (logits_TV != nullptr) logits_TV->push_back(logits(output.hidden_RD));
      total.backward();
      objective += total.item<double>();
    }
    if (logits_TV != nullptr) *logits_TV = from_all_dp(*logits_TV);
    return groups_.dp().all_reduce_value(objective, comm::ReduceOp::sum);
  }

  /// Every tensor whole: what the ranks hold, each at its place, added up (gradients before their reduction) ...
  std::map<std::string, at::Tensor> whole_gradients() const {
    return whole(comm::ReduceOp::sum, [](const parallel::Parameter& parameter) { return parameter.grad; });
  }
  /// ... or, for what several ranks hold alike, taken from one.
  std::map<std::string, at::Tensor> whole_weights() const {
    return whole(comm::ReduceOp::max, [](const parallel::Parameter& parameter) { return parameter.data; });
  }
  /// Masters and moments.
  std::map<std::string, at::Tensor> whole_state() const {
    std::map<std::string, at::Tensor> result;
    for (const char* group : {"optim/master/", "optim/exp_avg/", "optim/exp_avg_sq/"})
      for (const auto& spec : plan::parameter_specs(config_))
        result[group + spec.name] = at::zeros(spec.shape, optimizer_->state().front().data.scalar_type());
    for (const auto& tensor : optimizer_->state())
      if (tensor.is_primary)
        place_of(result.at(tensor.piece.name), tensor.piece.offset, tensor.piece.extent).copy_(tensor.data);
    for (auto& [name, tensor] : result) groups_.world().all_reduce(tensor, comm::ReduceOp::sum);
    return result;
  }

 private:
  at::Tensor compute_loss(const model::ModelOutput& output, const Sequence& row) {
    const double token_scale = 1.0 / static_cast<double>(num_sequences_ * (config_.max_position_embeddings - 3));
    const auto token = loss::cross_entropy(output.hidden_RD, model_->head(), row.labels, token_scale, groups_.tp());
    if (!config_.is_mixture) return token.scaled;
    for (const at::Tensor& expert : output.router.expert_RK) {
      const at::Tensor owner = at::div(expert, config_.num_experts / groups_.ep().size(), "floor").view(-1);
      rows_to_P_.push_back(at::bincount(owner, {}, groups_.ep().size()));
    }
    const auto router = loss::router_loss(output.router.logits_RE, output.router.expert_RK, config_.num_experts,
                                          config_.top_k, router_.aux_loss, router_.z_coefficient > 0, groups_.tp());
    at::Tensor total = token.scaled;
    const double scale = 1.0 / static_cast<double>(num_sequences_);
    if (router.aux.defined()) total = total + router.aux * (router_.aux_coefficient * scale);
    if (router.z.defined()) total = total + router.z * (router_.z_coefficient * scale);
    return total;
  }

  config::Precision precision() const {
    const auto type = store_.parameters().front().data.scalar_type();
    return type == at::kDouble  ? config::Precision::fp64
           : type == at::kFloat ? config::Precision::fp32
                                : config::Precision::bf16;
  }

  at::Tensor logits(const at::Tensor& hidden_RD) const {
    const at::NoGradGuard no_grad;
    const at::Tensor local = parallel::gather_rows(hidden_RD, groups_.tp()).mm(model_->head().data.t());
    at::Tensor all = at::zeros({config_.max_position_embeddings, config_.vocab_size}, local.options());
    all.narrow(1, model_->head().spec.offset[0], local.size(1)).copy_(local);
    groups_.tp().all_reduce(all, comm::ReduceOp::sum);
    return all;
  }

  std::vector<at::Tensor> from_all_dp(const std::vector<at::Tensor>& mine) const {
    const at::Tensor own = at::stack(mine);
    std::vector<std::int64_t> shape = own.sizes().vec();
    shape[0] *= groups_.dp().size();
    at::Tensor all = at::empty(shape, own.options());
    groups_.dp().all_gather(all, own);
    return all.unbind(0);
  }

  static at::Tensor place_of(at::Tensor whole, const std::vector<std::int64_t>& offset,
                             const std::vector<std::int64_t>& extent) {
    for (std::size_t dim = 0; dim < offset.size(); ++dim)
      whole = whole.narrow(static_cast<std::int64_t>(dim), offset[dim], extent[dim]);
    return whole;
  }

  template <class Value>
  std::map<std::string, at::Tensor> whole(comm::ReduceOp op, const Value& value) const {
    std::map<std::string, at::Tensor> result;
    const auto type = value(store_.parameters().front()).scalar_type();
    for (const auto& spec : plan::parameter_specs(config_)) {
      at::Tensor full = at::full(spec.shape, op == comm::ReduceOp::sum ? 0.0 : -1e30, type);
      if (store_.contains(spec.name)) {
        const parallel::Parameter& parameter = store_[spec.name];
        place_of(full, parameter.spec.offset, parameter.spec.extent).copy_(value(parameter));
      }
      groups_.world().all_reduce(full, op);
      result[spec.name] = full;
    }
    return result;
  }

  config::ModelConfig config_;
  const comm::MeshGroups& groups_;
  std::int64_t num_sequences_;
  config::Recompute recompute_;
  config::RouterOptions router_;
  std::vector<at::Tensor> rows_to_P_;
  parallel::ParameterStore store_;
  std::unique_ptr<model::Model> model_;
  std::unique_ptr<optim::AdamW> optimizer_;
};

}  // namespace osler::train
