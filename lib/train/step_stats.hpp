// The numbers of one step that every rank must agree on, gathered on the device during the step and summed over ranks
// by one reduction: losses per source, router losses and loads, and who wants to stop.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "comm/mesh_groups.hpp"
#include "data/batch.hpp"
#include "loss/cross_entropy.hpp"
#include "loss/router_loss.hpp"

namespace osler::train {

/// Why some ranks want the run to stop after this step: the number of ranks for each reason.
struct StopWishes {
  double signals = 0;
  double time_limit = 0;
  bool any() const { return signals > 0 || time_limit > 0; }
};

/// Sums over all ranks, equal on all of them.
struct StepTotals {
  std::vector<double> loss_S;    ///< per source, summed over supervised tokens
  std::vector<double> tokens_S;  ///< supervised tokens per source
  double aux_loss = 0;           ///< summed over micro-batches
  double z_loss = 0;
  std::vector<std::vector<double>> load_LE;  ///< routed rows per layer and expert
  std::vector<std::vector<double>> load_SE;  ///< the same of all layers, per source and expert
  StopWishes wishes;

  double loss() const;     ///< mean over supervised tokens
  bool is_finite() const;  ///< every loss is
};

class StepStats {
 public:
  struct Shape {
    std::int64_t num_sources = 1, num_layers = 0, num_experts = 0;  ///< layers and experts: 0 without a router
  };
  /// What all tp ranks know alike (token and router losses) is counted by the first of them, what each knows of its own
  /// rows (loads) by all.
  StepStats(const Shape& shape, const comm::MeshGroups& groups, c10::Device device);
  void reset();
  /// Adds one micro-batch. Deterministic; no synchronisation with the device.
  void add(const data::Batch& batch, const loss::LossSum& token_loss);
  void add(const data::Batch& batch, const loss::RouterLoss& router_loss, const std::vector<at::Tensor>& expert_RK);
  /// *Collective over `group`.*
  StepTotals reduce(comm::Group& group, const StopWishes& wishes);

 private:
  const comm::Group& tp_;
  std::int64_t num_sources_;
  std::int64_t num_layers_;
  std::int64_t num_experts_;
  std::int64_t load_begin_;
  at::Tensor sums_;  ///< fp64 on the device: loss_S, aux, z, load_LSE
  std::vector<double> tokens_S_;
};

}  // namespace osler::train
