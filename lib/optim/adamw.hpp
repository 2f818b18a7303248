// AdamW over flat buffers, its state sharded over the data-parallel group: rank r owns the r-th part of the flat
// parameter buffer, holds fp32 masters and both moments for it, and gets that part of the reduced gradient.
// Source: Loshchilov & Hutter 2019 (decoupled decay), with torch.optim.AdamW's bias correction and order of operations.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "comm/group.hpp"
#include "comm/sharded_tensor.hpp"
#include "config/options.hpp"
#include "parallel/parameter.hpp"

namespace osler::optim {

class AdamW {
 public:
  /// parameters.num_elements() is divisible by dp.size() (ParameterStore's num_shards). Masters start as copies of the
  /// parameters; fp32 and fp64 models update the parameters themselves and keep no second copy.
  AdamW(parallel::ParameterStore& parameters, comm::Group& dp, const config::OptimOptions& options);

  /// Reduces the store's gradients over dp into this rank's shard (sum). *Collective over dp.*
  void reduce_gradients();
  /// L2 norm of the whole reduced gradient, equal on all ranks; inf or nan if any element is. *Collective over dp.*
  double compute_grad_norm();
  /// One update with the gradient scaled by `grad_scale` (clipping), then all-gather of the new weights.
  /// `step` counts from 1. *Collective over dp.*
  void step(std::int64_t step, double learning_rate, double grad_scale);

  /// Masters and moments as pieces named "optim/master/NAME", "optim/exp_avg/NAME", "optim/exp_avg_sq/NAME".
  std::vector<comm::ShardedTensor> state() const;
  /// After masters were loaded into state(): rounds them into the model's weights on all ranks. *Collective over dp.*
  void publish_weights();

 private:
  parallel::ParameterStore& parameters_;
  comm::Group& dp_;
  config::OptimOptions options_;
  at::Tensor weight_shard_;    ///< this rank's part of the flat weights, model dtype (a view)
  at::Tensor grad_shard_;
  at::Tensor master_;          ///< accumulation dtype; == weight_shard_ when the dtypes agree
  at::Tensor exp_avg_;
  at::Tensor exp_avg_sq_;
};

/// Learning rate for the update that is the `step`-th (from 1) of `total_steps`: linear warm-up from 0 to
/// learning_rate over warmup_steps, then cosine or linear to min_learning_rate, wsd (constant, then linear decay over
/// the last decay_fraction) or constant.
double learning_rate_at(const config::OptimOptions& options, std::int64_t step, std::int64_t total_steps);

}  // namespace osler::optim
