#include "loss/router_loss.hpp"

#include <ATen/ATen.h>

#include "base/error.hpp"

namespace osler::loss {
namespace {

/// Rows routed to each expert, [E] fp32.
at::Tensor expert_counts(const at::Tensor& expert_RK, std::int64_t num_experts) {
  return at::bincount(expert_RK.reshape({-1}), {}, num_experts).to(at::kFloat);
}

/// Source: transformers' load_balancing_loss_func; its sums are in fp32 for every model dtype, and so are these.
at::Tensor pooled_aux(const std::vector<at::Tensor>& logits_RE, const std::vector<at::Tensor>& expert_RK,
                      std::int64_t num_experts) {
  const auto fp32 = logits_RE.front().options().dtype(at::kFloat).requires_grad(false);
  at::Tensor counts = at::zeros({num_experts}, fp32), probabilities = at::zeros({num_experts}, fp32);
  double num_rows = 0;
  for (std::size_t layer = 0; layer < logits_RE.size(); ++layer) {
    counts = counts + expert_counts(expert_RK[layer], num_experts);
    probabilities = probabilities + at::softmax(logits_RE[layer], -1).to(at::kFloat).sum(0);
    num_rows += static_cast<double>(logits_RE[layer].size(0));
  }
  return (counts / num_rows * (probabilities / num_rows)).sum() * static_cast<double>(num_experts);
}

/// Source: Megatron-Core's switch_load_balancing_loss_func without its coefficient.
at::Tensor per_layer_aux(const at::Tensor& logits_RE, const at::Tensor& expert_RK, std::int64_t num_experts,
                         std::int64_t top_k) {
  const auto rows = static_cast<double>(logits_RE.size(0));
  const double factor = static_cast<double>(num_experts) / (static_cast<double>(top_k) * rows * rows);
  return (at::softmax(logits_RE, -1).sum(0) * expert_counts(expert_RK, num_experts)).sum() * factor;
}

}  // namespace

RouterLoss router_loss(const std::vector<at::Tensor>& logits_RE, const std::vector<at::Tensor>& expert_RK,
                       std::int64_t num_experts, std::int64_t top_k, config::AuxLoss convention, bool with_z) {
  OSLER_CHECK(logits_RE.size() == expert_RK.size(), logits_RE.size(), " layers of logits, ", expert_RK.size(),
              " of experts");
  RouterLoss loss;
  if (logits_RE.empty() || logits_RE.front().size(0) == 0) return loss;
  if (convention == config::AuxLoss::hf) loss.aux = pooled_aux(logits_RE, expert_RK, num_experts);
  for (std::size_t layer = 0; layer < logits_RE.size(); ++layer) {
    if (convention == config::AuxLoss::megatron) {
      const at::Tensor aux = per_layer_aux(logits_RE[layer], expert_RK[layer], num_experts, top_k);
      loss.aux = loss.aux.defined() ? loss.aux + aux : aux;
    }
    if (with_z) {
      const at::Tensor z = at::logsumexp(logits_RE[layer], {-1}).square().mean();
      loss.z = loss.z.defined() ? loss.z + z : z;
    }
  }
  return loss;
}

}  // namespace osler::loss
