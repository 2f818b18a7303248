#include "loss/router_loss.hpp"

#include <ATen/ATen.h>

#include "base/error.hpp"
#include "parallel/regions.hpp"

namespace osler::loss {
namespace {

/// Rows routed to each expert, [E] fp32.
at::Tensor expert_counts(const at::Tensor& expert_RK, std::int64_t num_experts) {
  return at::bincount(expert_RK.reshape({-1}), {}, num_experts).to(at::kFloat);
}

/// Sums over rows of all tp ranks, one value an expert: rows routed to it, and its probabilities. Only the second is
/// differentiable.
struct Load {
  at::Tensor counts_E, probabilities_E;
};

/// fp32 for every model dtype, as transformers' load_balancing_loss_func sums.
Load load_of(const at::Tensor& counts_E, const at::Tensor& probabilities_E, comm::Group& tp) {
  if (tp.size() == 1) return {counts_E, probabilities_E};
  const at::Tensor both = parallel::reduce_from_tensor_parallel_region(at::stack({counts_E, probabilities_E}), tp);
  return {both[0].detach(), both[1]};
}

/// Source: transformers' load_balancing_loss_func.
at::Tensor pooled_aux(const std::vector<at::Tensor>& logits_RE, const std::vector<at::Tensor>& expert_RK,
                      std::int64_t num_experts, comm::Group& tp) {
  const auto fp32 = logits_RE.front().options().dtype(at::kFloat).requires_grad(false);
  at::Tensor counts = at::zeros({num_experts}, fp32), probabilities = at::zeros({num_experts}, fp32);
  double num_rows = 0;
  for (std::size_t layer = 0; layer < logits_RE.size(); ++layer) {
    counts = counts + expert_counts(expert_RK[layer], num_experts);
    probabilities = probabilities + at::softmax(logits_RE[layer], -1).to(at::kFloat).sum(0);
    num_rows += static_cast<double>(logits_RE[layer].size(0) * tp.size());
  }
  const Load load = load_of(counts, probabilities, tp);
  return (load.counts_E / num_rows * (load.probabilities_E / num_rows)).sum() * static_cast<double>(num_experts);
}

/// Source: Megatron-Core's switch_load_balancing_loss_func without its coefficient.
at::Tensor per_layer_aux(const at::Tensor& logits_RE, const at::Tensor& expert_RK, std::int64_t num_experts,
                         std::int64_t top_k, comm::Group& tp) {
  const auto rows = static_cast<double>(logits_RE.size(0) * tp.size());
  const double factor = static_cast<double>(num_experts) / (static_cast<double>(top_k) * rows * rows);
  const at::Tensor counts = expert_counts(expert_RK, num_experts).to(logits_RE.scalar_type());
  const Load load = load_of(counts, at::softmax(logits_RE, -1).sum(0), tp);
  return (load.probabilities_E * load.counts_E).sum() * factor;
}

at::Tensor mean_z(const at::Tensor& logits_RE, comm::Group& tp) {
  const at::Tensor squares = at::logsumexp(logits_RE, {-1}).square();
  if (tp.size() == 1) return squares.mean();
  const auto rows = static_cast<double>(logits_RE.size(0) * tp.size());
  return parallel::reduce_from_tensor_parallel_region(squares.sum(), tp) / rows;
}

}  // namespace

RouterLoss router_loss(const std::vector<at::Tensor>& logits_RE, const std::vector<at::Tensor>& expert_RK,
                       std::int64_t num_experts, std::int64_t top_k, config::AuxLoss convention, bool with_z,
                       comm::Group& tp) {
  OSLER_CHECK(logits_RE.size() == expert_RK.size(), logits_RE.size(), " layers of logits, ", expert_RK.size(),
              " of experts");
  RouterLoss loss;
  if (logits_RE.empty() || logits_RE.front().size(0) == 0) return loss;
  if (convention == config::AuxLoss::hf) loss.aux = pooled_aux(logits_RE, expert_RK, num_experts, tp);
  for (std::size_t layer = 0; layer < logits_RE.size(); ++layer) {
    if (convention == config::AuxLoss::megatron) {
      const at::Tensor aux = per_layer_aux(logits_RE[layer], expert_RK[layer], num_experts, top_k, tp);
      loss.aux = loss.aux.defined() ? loss.aux + aux : aux;
    }
    if (with_z) {
      const at::Tensor z = mean_z(logits_RE[layer], tp);
      loss.z = loss.z.defined() ? loss.z + z : z;
    }
  }
  return loss;
}

}  // namespace osler::loss
