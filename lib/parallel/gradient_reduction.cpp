#include "parallel/gradient_reduction.hpp"

#include <ATen/ATen.h>

#include "base/error.hpp"

namespace osler::parallel {

comm::Group& sharers_of(const plan::Bucket& bucket, const comm::MeshGroups& groups) {
  return bucket.is_expert ? groups.edp() : groups.dp();
}

at::Tensor shard_of(const at::Tensor& flat, const plan::Bucket& bucket, const comm::Group& sharers) {
  const std::int64_t size = bucket.size / sharers.size();
  OSLER_CHECK(size * sharers.size() == bucket.size, "a bucket of ", bucket.size, " over ", sharers.size(), " ranks");
  return flat.narrow(0, bucket.begin + size * sharers.rank(), size);
}

GradientReduction::GradientReduction(ParameterStore& parameters, const comm::MeshGroups& groups)
    : parameters_(parameters), groups_(groups), pending_(parameters.buckets().size()) {
  for (const plan::Bucket& bucket : parameters_.buckets()) {
    shards_.push_back(shard_of(parameters_.grad(), bucket, sharers_of(bucket, groups_)));
    // Groups are made now: not in the middle of a backward pass.
    for (const plan::Replicated& part : bucket.replicated) groups_.replicas(part.replicas);
  }
}

void GradientReduction::start(std::size_t bucket) {
  at::Tensor grad = parameters_.grad();
  const plan::Bucket& its = parameters_.buckets()[bucket];
  for (const plan::Replicated& part : its.replicated) {
    at::Tensor shares = grad.narrow(0, part.begin, part.size);
    groups_.replicas(part.replicas).all_reduce(shares, comm::ReduceOp::sum);
  }
  pending_[bucket] =
      sharers_of(its, groups_)
          .start_reduce_scatter(shards_[bucket], grad.narrow(0, its.begin, its.size), comm::ReduceOp::sum);
}

void GradientReduction::start_layer(std::int64_t layer) {
  const at::NoGradGuard no_grad;
  for (std::size_t bucket = 0; bucket < pending_.size(); ++bucket)
    if (parameters_.buckets()[bucket].layer == layer) start(bucket);
}

void GradientReduction::finish() {
  const at::NoGradGuard no_grad;
  for (std::size_t bucket = 0; bucket < pending_.size(); ++bucket)
    if (!pending_[bucket]) start(bucket);
  for (auto& pending : pending_) {
    pending->wait();
    pending.reset();
  }
}

}  // namespace osler::parallel
