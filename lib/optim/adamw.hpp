// AdamW over flat buffers, its state sharded over the data-parallel group: rank r owns the r-th part of the flat
// parameter buffer, holds fp32 masters and both moments for it, and gets that part of the reduced gradient.
// Source: Loshchilov & Hutter 2019 (decoupled decay), with torch.optim.AdamW's bias correction and order of operations.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "comm/group.hpp"
#include "comm/sharded_tensor.hpp"
#include "config/options.hpp"
#include "parallel/parameter.hpp"

namespace osler::optim {

class AdamW {
 public:
  /// parameters.num_elements() is divisible by dp.size() (ParameterStore's num_shards). Masters start as copies of the
  /// parameters; fp32 and fp64 models update the parameters themselves and keep no second copy. Allocates the store's
  /// gradients if need be. Both arguments outlive this.
  AdamW(parallel::ParameterStore& parameters, comm::Group& dp, const config::OptimOptions& options);

  /// Sums the store's gradients over dp into this rank's shard, which is the r-th part of the store's own buffer; the
  /// other parts then hold what they held and mean nothing. *Collective over dp.*
  void reduce_gradients();
  /// L2 norm of the whole reduced gradient, equal on all ranks; inf or nan if any element is (and inf when elements of
  /// an fp32 gradient exceed 1e19). Squares are summed in blocks, the blocks in fp64. *Collective over dp.*
  double compute_grad_norm();
  /// One update with the gradient scaled by `grad_scale` (clipping), then all-gather of the new weights.
  /// `step` counts from 1. *Collective over dp.*
  void step(std::int64_t step, double learning_rate, double grad_scale);

  /// This rank's masters and moments as pieces named "optim/master/NAME", "optim/exp_avg/NAME",
  /// "optim/exp_avg_sq/NAME", in the accumulation dtype, sharing memory with the optimizer. Over all ranks they tile
  /// each tensor exactly once.
  std::vector<comm::ShardedTensor> state() const;
  /// After masters were loaded into state(): rounds them into the model's weights on all ranks. *Collective over dp.*
  void publish_weights();

 private:
  void update(std::int64_t begin, std::int64_t end, std::int64_t step, double learning_rate, double weight_decay);
  std::vector<comm::ShardedTensor> pieces(const std::string& group, const at::Tensor& shard) const;

  parallel::ParameterStore& parameters_;
  comm::Group& dp_;
  config::OptimOptions options_;
  std::int64_t shard_begin_ = 0;  ///< of this rank's part, elements of the flat buffers
  std::int64_t shard_size_ = 0;
  at::Tensor weight_shard_;  ///< this rank's part of the flat weights, model dtype (a view)
  at::Tensor grad_shard_;    ///< this rank's part of the flat gradients (a view)
  at::Tensor master_;        ///< accumulation dtype; == weight_shard_ when the dtypes agree
  at::Tensor exp_avg_;
  at::Tensor exp_avg_sq_;
};

/// Learning rate for the update that is the `step`-th (from 1) of `total_steps`: linear warm-up from 0 to
/// learning_rate over warmup_steps, then cosine or linear to min_learning_rate, reached at total_steps and kept after
/// it; wsd (constant, then linear decay over the last decay_fraction) or constant.
double learning_rate_at(const config::OptimOptions& options, std::int64_t step, std::int64_t total_steps);

}  // namespace osler::optim
