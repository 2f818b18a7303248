#include "optim/adamw.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "base/error.hpp"
#include "comm/torch_dtype.hpp"
#include "plan/piece.hpp"

namespace osler::optim {
namespace {

/// Elements whose squares are summed in the gradient's own type before double takes over.
constexpr std::int64_t kNormBlock = 4096;

/// Sum of squares of a flat tensor: blocks in its own type, the blocks' sums in fp64.
double sum_of_squares(const at::Tensor& flat) {
  const std::int64_t whole = flat.numel() / kNormBlock * kNormBlock;
  at::Tensor sum = at::zeros({}, flat.options().dtype(at::kDouble));
  if (whole > 0) {
    const at::Tensor blocks =
        at::linalg_vector_norm(flat.narrow(0, 0, whole).view({-1, kNormBlock}), 2, at::IntArrayRef{1});
    sum = sum + blocks.to(at::kDouble).square().sum();
  }
  if (whole < flat.numel()) {
    sum = sum + at::linalg_vector_norm(flat.narrow(0, whole, flat.numel() - whole), 2).to(at::kDouble).square();
  }
  return sum.item<double>();
}

parallel::ParameterStore& with_gradients(parallel::ParameterStore& parameters) {
  parameters.allocate_grad();
  return parameters;
}

}  // namespace

AdamW::AdamW(parallel::ParameterStore& parameters, const comm::MeshGroups& groups, const config::OptimOptions& options)
    : parameters_(with_gradients(parameters)), groups_(groups), options_(options), reduction_(parameters, groups) {
  for (const plan::Bucket& bucket : parameters_.buckets()) shards_.push_back(make_shard(bucket));
}

AdamW::Shard AdamW::make_shard(const plan::Bucket& bucket) const {
  Shard shard{.bucket = bucket, .sharers = &parallel::sharers_of(bucket, groups_)};
  shard.weight = parallel::shard_of(parameters_.data(), bucket, *shard.sharers);
  shard.grad = parallel::shard_of(parameters_.grad(), bucket, *shard.sharers);
  shard.begin = bucket.begin + shard.weight.numel() * shard.sharers->rank();
  const bool weights_are_masters = shard.weight.scalar_type() == shard.grad.scalar_type();
  shard.master = weights_are_masters ? shard.weight : shard.weight.to(shard.grad.scalar_type());
  shard.exp_avg = at::zeros_like(shard.grad);
  shard.exp_avg_sq = at::zeros_like(shard.grad);
  bool all_counted = true;
  for (const Overlap& part : overlaps(shard)) {
    if (part.parameter->spec.replica > 0) {
      all_counted = false;
    } else {
      shard.counted.push_back(shard.grad.narrow(0, part.at, part.end - part.begin));
    }
  }
  if (all_counted) shard.counted = {shard.grad};  // gaps hold zeros
  return shard;
}

std::vector<AdamW::Overlap> AdamW::overlaps(const Shard& shard) const {
  std::vector<Overlap> parts;
  for (const parallel::Parameter& parameter : parameters_.parameters()) {
    const std::int64_t begin = std::max(parameter.offset, shard.begin);
    const std::int64_t end = std::min(parameter.offset + parameter.data.numel(), shard.begin + shard.weight.numel());
    if (begin >= end) continue;
    parts.push_back({&parameter, begin - parameter.offset, end - parameter.offset, begin - shard.begin});
  }
  return parts;
}

double AdamW::compute_grad_norm() {
  double sum = 0;
  for (const Shard& shard : shards_)
    for (const at::Tensor& part : shard.counted) sum += sum_of_squares(part);
  return std::sqrt(groups_.world().all_reduce_value(sum, comm::ReduceOp::sum));
}

void AdamW::step(std::int64_t step, double learning_rate, double grad_scale) {
  OSLER_CHECK(step >= 1, "step ", step);
  // A pass of its own rather than the kernel's grad_scale, which is fp32 and divides: fp64 models stay exact.
  if (grad_scale != 1)
    for (Shard& shard : shards_) shard.grad.mul_(grad_scale);
  update(/*decayed=*/true, step, learning_rate, options_.weight_decay);
  update(/*decayed=*/false, step, learning_rate, 0);
  publish_weights();
}

void AdamW::update(bool decayed, std::int64_t step, double learning_rate, double weight_decay) {
  std::vector<at::Tensor> masters, grads, exp_avgs, exp_avg_sqs, steps;
  for (const Shard& shard : shards_) {
    if (shard.bucket.decay != decayed) continue;
    masters.push_back(shard.master);
    grads.push_back(shard.grad);
    exp_avgs.push_back(shard.exp_avg);
    exp_avg_sqs.push_back(shard.exp_avg_sq);
    steps.push_back(at::full({}, static_cast<double>(step), shard.master.options().dtype(at::kFloat)));
  }
  if (masters.empty()) return;
  at::_fused_adamw_(masters, grads, exp_avgs, exp_avg_sqs, {}, steps, learning_rate, options_.beta1, options_.beta2,
                    weight_decay, options_.eps, /*amsgrad=*/false, /*maximize=*/false);
}

void AdamW::publish_weights() {
  for (Shard& shard : shards_) {
    if (!shard.master.is_same(shard.weight)) shard.weight.copy_(shard.master);
    at::Tensor whole = parameters_.data().narrow(0, shard.bucket.begin, shard.bucket.size);
    shard.sharers->all_gather(whole, shard.weight);
  }
}

void AdamW::add_pieces(const std::string& group, const Shard& shard, const at::Tensor& values,
                       std::vector<comm::ShardedTensor>& result) const {
  const DType dtype = comm::dtype_of(values.scalar_type());
  for (const Overlap& part : overlaps(shard)) {
    const plan::ParameterSpec& spec = part.parameter->spec;
    std::int64_t at = part.at;
    for (auto& piece :
         plan::pieces_of_flat_range(group + part.parameter->name, dtype, spec.extent, part.begin, part.end)) {
      const std::int64_t count = plan::num_elements(piece.extent);
      const at::Tensor data = values.narrow(0, at, count).view(piece.extent);
      at += count;
      // From this rank's part of the tensor to the whole.
      piece.global_shape = spec.shape;
      for (std::size_t dim = 0; dim < spec.offset.size(); ++dim) piece.offset[dim] += spec.offset[dim];
      result.push_back({.piece = std::move(piece), .data = data, .is_primary = spec.replica == 0});
    }
  }
}

std::vector<comm::ShardedTensor> AdamW::state() const {
  std::vector<comm::ShardedTensor> result;
  for (const Shard& shard : shards_) add_pieces("optim/master/", shard, shard.master, result);
  for (const Shard& shard : shards_) add_pieces("optim/exp_avg/", shard, shard.exp_avg, result);
  for (const Shard& shard : shards_) add_pieces("optim/exp_avg_sq/", shard, shard.exp_avg_sq, result);
  return result;
}

}  // namespace osler::optim
