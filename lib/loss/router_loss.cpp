#include "loss/router_loss.hpp"

#include <ATen/ATen.h>

#include "base/error.hpp"
#include "parallel/regions.hpp"

namespace osler::loss {
namespace {

/// [2, E], sums over this rank's rows: those routed to each expert, and its probabilities. Only the second is
/// differentiable.
at::Tensor load_of(const at::Tensor& logits_RE, const at::Tensor& expert_RK, std::int64_t num_experts,
                   c10::ScalarType type) {
  const at::Tensor counts_E = at::bincount(expert_RK.reshape({-1}), {}, num_experts).to(type);
  return at::stack({counts_E, at::softmax(logits_RE, -1).to(type).sum(0)});
}

/// One for all layers, summed in fp32 for every model dtype as transformers' load_balancing_loss_func does (hf), or one
/// a layer (megatron).
std::vector<at::Tensor> loads_of(const std::vector<at::Tensor>& logits_RE, const std::vector<at::Tensor>& expert_RK,
                                 std::int64_t num_experts, config::AuxLoss convention) {
  std::vector<at::Tensor> loads_2E;
  if (convention == config::AuxLoss::off) return loads_2E;
  const bool pooled = convention == config::AuxLoss::hf;
  for (std::size_t layer = 0; layer < logits_RE.size(); ++layer) {
    const at::Tensor load =
        load_of(logits_RE[layer], expert_RK[layer], num_experts, pooled ? at::kFloat : logits_RE[layer].scalar_type());
    if (pooled && layer > 0) {
      loads_2E[0] = loads_2E[0] + load;
    } else {
      loads_2E.push_back(load);
    }
  }
  return loads_2E;
}

at::Tensor sum_of_z(const std::vector<at::Tensor>& logits_RE) {
  at::Tensor sum;
  for (const at::Tensor& logits : logits_RE) {
    const at::Tensor z = at::logsumexp(logits, {-1}).square().sum();
    sum = sum.defined() ? sum + z : z;
  }
  return sum;
}

/// The same tensors summed over ranks, in one all-reduce for all of them.
std::vector<at::Tensor> sums_over_ranks(const std::vector<at::Tensor>& own, c10::ScalarType type, comm::Group& tp) {
  if (tp.size() == 1 || own.empty()) return own;
  std::vector<at::Tensor> flat, sums;
  std::vector<std::int64_t> sizes;
  for (const at::Tensor& tensor : own) {
    flat.push_back(tensor.reshape({-1}).to(type));
    sizes.push_back(tensor.numel());
  }
  const auto parts = parallel::reduce_from_tensor_parallel_region(at::cat(flat), tp).split_with_sizes(sizes);
  for (std::size_t i = 0; i < own.size(); ++i) sums.push_back(parts[i].view(own[i].sizes()).to(own[i].scalar_type()));
  return sums;
}

/// Source: transformers' load_balancing_loss_func.
at::Tensor pooled_aux(const at::Tensor& load_2E, double rows_of_all_layers) {
  const at::Tensor mean_2E = load_2E / rows_of_all_layers;
  return (mean_2E[0] * mean_2E[1]).sum() * static_cast<double>(load_2E.size(1));
}

/// Source: Megatron-Core's switch_load_balancing_loss_func without its coefficient.
at::Tensor per_layer_aux(const at::Tensor& load_2E, std::int64_t top_k, double rows) {
  const double factor = static_cast<double>(load_2E.size(1)) / (static_cast<double>(top_k) * rows * rows);
  return (load_2E[1] * load_2E[0]).sum() * factor;
}

}  // namespace

RouterLoss router_loss(const std::vector<at::Tensor>& logits_RE, const std::vector<at::Tensor>& expert_RK,
                       std::int64_t num_experts, std::int64_t top_k, config::AuxLoss convention, bool with_z,
                       comm::Group& tp, std::int64_t num_rows) {
  OSLER_CHECK(logits_RE.size() == expert_RK.size(), logits_RE.size(), " layers of logits, ", expert_RK.size(),
              " of experts");
  RouterLoss loss;
  if (logits_RE.empty()) return loss;
  if (num_rows == kAsManyOnEach) num_rows = logits_RE.front().size(0) * tp.size();
  if (num_rows == 0) return loss;
  std::vector<at::Tensor> sums = loads_of(logits_RE, expert_RK, num_experts, convention);
  if (with_z) sums.push_back(sum_of_z(logits_RE));
  sums = sums_over_ranks(sums, logits_RE.front().scalar_type(), tp);

  const auto rows = static_cast<double>(num_rows);
  if (with_z) {
    loss.z = sums.back() / rows;
    sums.pop_back();
  }
  for (const at::Tensor& load_2E : sums) {
    const at::Tensor aux = convention == config::AuxLoss::hf
                               ? pooled_aux(load_2E, rows * static_cast<double>(logits_RE.size()))
                               : per_layer_aux(load_2E, top_k, rows);
    loss.aux = loss.aux.defined() ? loss.aux + aux : aux;
  }
  return loss;
}

}  // namespace osler::loss
