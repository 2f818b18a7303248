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

}  // namespace

AdamW::AdamW(parallel::ParameterStore& parameters, comm::Group& dp, const config::OptimOptions& options)
    : parameters_(parameters), dp_(dp), options_(options) {
  OSLER_CHECK(parameters.num_elements() % dp.size() == 0, parameters.num_elements(), " elements over ", dp.size(),
              " ranks");
  parameters_.allocate_grad();
  shard_size_ = parameters.num_elements() / dp.size();
  shard_begin_ = shard_size_ * dp.rank();
  weight_shard_ = parameters_.data().narrow(0, shard_begin_, shard_size_);
  grad_shard_ = parameters_.grad().narrow(0, shard_begin_, shard_size_);
  const bool weights_are_masters = weight_shard_.scalar_type() == grad_shard_.scalar_type();
  master_ = weights_are_masters ? weight_shard_ : weight_shard_.to(grad_shard_.scalar_type());
  exp_avg_ = at::zeros_like(grad_shard_);
  exp_avg_sq_ = at::zeros_like(grad_shard_);
}

void AdamW::reduce_gradients() {
  dp_.reduce_scatter(grad_shard_, parameters_.grad(), comm::ReduceOp::sum);
}

double AdamW::compute_grad_norm() {
  return std::sqrt(dp_.all_reduce_value(sum_of_squares(grad_shard_), comm::ReduceOp::sum));
}

void AdamW::step(std::int64_t step, double learning_rate, double grad_scale) {
  OSLER_CHECK(step >= 1, "step ", step);
  // A pass of its own rather than the kernel's grad_scale, which is fp32 and divides: fp64 models stay exact.
  if (grad_scale != 1) grad_shard_.mul_(grad_scale);
  const std::int64_t decayed = std::clamp<std::int64_t>(parameters_.decay_end() - shard_begin_, 0, shard_size_);
  update(0, decayed, step, learning_rate, options_.weight_decay);
  update(decayed, shard_size_, step, learning_rate, 0);
  publish_weights();
}

void AdamW::update(std::int64_t begin, std::int64_t end, std::int64_t step, double learning_rate, double weight_decay) {
  if (begin == end) return;
  const auto part = [&](const at::Tensor& flat) { return std::vector<at::Tensor>{flat.narrow(0, begin, end - begin)}; };
  const auto steps = at::full({}, static_cast<double>(step), master_.options().dtype(at::kFloat));
  at::_fused_adamw_(part(master_), part(grad_shard_), part(exp_avg_), part(exp_avg_sq_), {}, {steps}, learning_rate,
                    options_.beta1, options_.beta2, weight_decay, options_.eps, /*amsgrad=*/false, /*maximize=*/false);
}

void AdamW::publish_weights() {
  if (!master_.is_same(weight_shard_)) weight_shard_.copy_(master_);
  dp_.all_gather(parameters_.data(), weight_shard_);
}

std::vector<comm::ShardedTensor> AdamW::pieces(const std::string& group, const at::Tensor& shard) const {
  std::vector<comm::ShardedTensor> result;
  const DType dtype = comm::dtype_of(shard.scalar_type());
  for (const auto& parameter : parameters_.parameters()) {
    const std::int64_t begin = std::max(parameter.offset, shard_begin_);
    const std::int64_t end = std::min(parameter.offset + parameter.data.numel(), shard_begin_ + shard_size_);
    if (begin >= end) continue;
    std::int64_t at = begin - shard_begin_;
    for (auto& piece : plan::pieces_of_flat_range(group + parameter.name, dtype, parameter.data.sizes().vec(),
                                                  begin - parameter.offset, end - parameter.offset)) {
      const std::int64_t count = plan::num_elements(piece.extent);
      const at::Tensor data = shard.narrow(0, at, count).view(piece.extent);
      at += count;
      result.push_back({std::move(piece), data});
    }
  }
  return result;
}

std::vector<comm::ShardedTensor> AdamW::state() const {
  std::vector<comm::ShardedTensor> result = pieces("optim/master/", master_);
  for (const auto& [group, shard] :
       {std::pair{"optim/exp_avg/", exp_avg_}, std::pair{"optim/exp_avg_sq/", exp_avg_sq_}}) {
    auto more = pieces(group, shard);
    std::move(more.begin(), more.end(), std::back_inserter(result));
  }
  return result;
}

}  // namespace osler::optim
