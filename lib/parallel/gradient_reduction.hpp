// Sums gradients over the ranks that computed them: parameters that several tp ranks hold over those, then every bucket
// over dp (dense) or edp (experts), each rank keeping its part of the sum. Buckets start as soon as they are complete,
// while backward goes on with the layers below.
// Source: Rajbhandari et al. 2020 (ZeRO), section 5 (stage 1: optimizer states); Megatron-Core distributed optimizer.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "comm/mesh_groups.hpp"
#include "parallel/parameter.hpp"

namespace osler::parallel {

/// The ranks that share a bucket's optimizer state.
comm::Group& sharers_of(const plan::Bucket& bucket, const comm::MeshGroups& groups);
/// This rank's part of the bucket in one of the store's flat buffers.
at::Tensor shard_of(const at::Tensor& flat, const plan::Bucket& bucket, const comm::Group& sharers);

class GradientReduction {
 public:
  /// Both outlive this; the store has gradients.
  GradientReduction(ParameterStore& parameters, const comm::MeshGroups& groups);
  GradientReduction(const GradientReduction&) = delete;
  GradientReduction& operator=(const GradientReduction&) = delete;

  /// In the last micro-batch's backward, when layer's gradients are complete. *Collective over dp, edp and tp: called
  /// for the same layers in the same order on all ranks.*
  void start_layer(std::int64_t layer);
  /// Starts the rest and waits for all. Then shard_of(grad, ...) is the sum over ranks; the other parts hold what they
  /// held and mean nothing. *Collective.*
  void finish();

 private:
  void start(std::size_t bucket);

  ParameterStore& parameters_;
  const comm::MeshGroups& groups_;
  std::vector<at::Tensor> shards_;                       ///< by bucket
  std::vector<std::unique_ptr<comm::Pending>> pending_;  ///< by bucket; null: not started
};

}  // namespace osler::parallel
