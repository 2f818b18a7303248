// AdamW over flat buffers, its state sharded: of each bucket of the parameter buffer (parallel/parameter.hpp) a rank
// owns the part that is its own among the ranks that share the bucket (dp for dense parameters, edp for experts), holds
// fp32 masters and both moments for it, and gets that part of the reduced gradient. Source: Loshchilov & Hutter 2019
// (decoupled decay), with torch.optim.AdamW's bias correction and order of operations.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "comm/mesh_groups.hpp"
#include "comm/sharded_tensor.hpp"
#include "config/options.hpp"
#include "parallel/gradient_reduction.hpp"
#include "parallel/parameter.hpp"

namespace osler::optim {

class AdamW {
 public:
  /// The store's buckets are divisible by their sharers (plan::Sharers). Masters start as copies of the parameters;
  /// fp32 and fp64 models update the parameters themselves and keep no second copy. Allocates the store's gradients if
  /// need be. Store and groups outlive this.
  AdamW(parallel::ParameterStore& parameters, const comm::MeshGroups& groups, const config::OptimOptions& options);

  /// A layer's gradients are complete: their reduction starts while backward goes on (parallel/gradient_reduction.hpp).
  /// *Collective.*
  void start_reduction(std::int64_t layer) { reduction_.start_layer(layer); }
  /// Sums the store's gradients over ranks into this rank's shards, which are parts of the store's own buffer; the
  /// other parts then hold what they held and mean nothing. *Collective.*
  void reduce_gradients() { reduction_.finish(); }
  /// L2 norm of the whole reduced gradient, equal on all ranks; inf or nan if any element is (and inf when elements of
  /// an fp32 gradient exceed 1e19). What several tp ranks hold counts once. Squares are summed in blocks, the blocks in
  /// fp64. *Collective over the world.*
  double compute_grad_norm();
  /// One update with the gradient scaled by `grad_scale` (clipping), then all-gather of the new weights.
  /// `step` counts from 1. *Collective.*
  void step(std::int64_t step, double learning_rate, double grad_scale);

  /// This rank's masters and moments as pieces named "optim/master/NAME", "optim/exp_avg/NAME",
  /// "optim/exp_avg_sq/NAME", in the accumulation dtype, sharing memory with the optimizer. Over all ranks the primary
  /// ones tile each tensor exactly once.
  std::vector<comm::ShardedTensor> state() const;
  /// After masters were loaded into state(): rounds them into the model's weights on all ranks. *Collective.*
  void publish_weights();

 private:
  struct Shard {
    plan::Bucket bucket;
    comm::Group* sharers = nullptr;
    std::int64_t begin = 0;  ///< elements from the start of the flat buffers
    at::Tensor weight;       ///< model dtype, a view of the store's
    at::Tensor grad;         ///< accumulation dtype, a view of the store's
    at::Tensor master;       ///< accumulation dtype; == weight when the dtypes agree
    at::Tensor exp_avg, exp_avg_sq;
    std::vector<at::Tensor> counted;  ///< views of grad: what enters the norm here
  };
  /// This rank's elements of one parameter within a shard: [begin, end) of the parameter as it is held here.
  struct Overlap {
    const parallel::Parameter* parameter;
    std::int64_t begin, end;
    std::int64_t at;  ///< of the first one, in the shard
  };
  Shard make_shard(const plan::Bucket& bucket) const;
  std::vector<Overlap> overlaps(const Shard& shard) const;
  void update(bool decayed, std::int64_t step, double learning_rate, double weight_decay);
  void add_pieces(const std::string& group, const Shard& shard, const at::Tensor& values,
                  std::vector<comm::ShardedTensor>& result) const;

  parallel::ParameterStore& parameters_;
  const comm::MeshGroups& groups_;
  config::OptimOptions options_;
  std::vector<Shard> shards_;
  parallel::GradientReduction reduction_;
};

/// Learning rate for the update that is the `step`-th (from 1) of `total_steps`: linear warm-up from 0 to
/// learning_rate over warmup_steps, then cosine or linear to min_learning_rate, reached at total_steps and kept after
/// it; wsd (constant, then linear decay over the last decay_fraction) or constant.
double learning_rate_at(const config::OptimOptions& options, std::int64_t step, std::int64_t total_steps);

}  // namespace osler::optim
