// Load balancing and z losses of the router, in both published conventions (docs/numerics.md, Losses).
#pragma once

#include <ATen/core/Tensor.h>

#include "comm/group.hpp"
#include "config/options.hpp"

namespace osler::loss {

struct RouterLoss {
  at::Tensor aux;  ///< scalar, differentiable, unscaled by any coefficient; undefined when off. Balanced value: hf
                   ///< top_k, megatron 1 per layer (mean over layers is NOT taken: layers add)
  at::Tensor z;    ///< scalar: sum over layers of mean(logsumexp^2); undefined when its coefficient is 0
};

inline constexpr std::int64_t kAsManyOnEach = -1;

/// logits_RE and expert_RK of this rank's rows, per layer; num_rows (R): of all tp ranks together, where they do not
/// hold as many each (one may have none); the losses are those of all tp ranks' rows, each rank's gradient that of its
/// own. `hf`: tokens of all layers pooled (transformers' load_balancing_loss_func). `megatron`: per layer E/(K*R^2) *
/// sum_e tokens_e * sum_r prob_re, added over layers (Megatron-Core switch_load_balancing_loss_func). *Collective over
/// tp*: one sum for all layers and both losses.
RouterLoss router_loss(const std::vector<at::Tensor>& logits_RE, const std::vector<at::Tensor>& expert_RK,
                       std::int64_t num_experts, std::int64_t top_k, config::AuxLoss convention, bool with_z,
                       comm::Group& tp = comm::self_group(), std::int64_t num_rows = kAsManyOnEach);

}  // namespace osler::loss
