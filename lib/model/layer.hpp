// One decoder layer: norm, attention, norm, feed-forward (dense or a mixture of experts). The residual stream is handed
// on as (residual, delta), so that the addition is done by the next norm in the same pass.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "comm/mesh_groups.hpp"
#include "config/model_config.hpp"
#include "config/options.hpp"
#include "model/attention.hpp"
#include "model/rope.hpp"
#include "parallel/linear.hpp"

namespace osler::model {

/// What every layer of one forward pass shares; kept alive by the autograd graph where layers are run again.
struct PassContext {
  AttentionLayout layout;
  RopeTables rope;
  config::Recompute recompute = config::Recompute::none;
};

struct LayerOutput {
  at::Tensor residual_RD, delta_RD;
  at::Tensor router_logits_RE, expert_RK;  ///< undefined in dense layers
};

class Layer {
 public:
  /// `groups` outlive the layer. Heads and experts are those whose parameters are in the store.
  Layer(const config::ModelConfig& config, const parallel::ParameterStore& parameters, const comm::MeshGroups& groups,
        std::int64_t index);
  /// delta_RD may be undefined.
  LayerOutput forward(const at::Tensor& residual_RD, const at::Tensor& delta_RD,
                      const std::shared_ptr<const PassContext>& pass) const;
  const AttentionHeads& heads() const { return heads_; }

 private:
  LayerOutput run(const at::Tensor& residual_RD, const at::Tensor& delta_RD, const PassContext& pass) const;
  at::Tensor attend(const at::Tensor& normed_RD, const parallel::Rebuild& rebuild, const PassContext& pass) const;
  at::Tensor feed_forward(const at::Tensor& normed_RD, const parallel::Rebuild& rebuild, const PassContext& pass) const;
  void mix_experts(const at::Tensor& normed_RD, const parallel::Rebuild& rebuild, const PassContext& pass,
                   LayerOutput& output) const;

  AttentionHeads heads_;
  std::int64_t index_;
  std::int64_t head_dim_, num_experts_, top_k_;
  double eps_;
  comm::Group* ep_;
  parallel::Parameter input_norm_, post_attention_norm_, router_;
  parallel::ColumnParallelLinear qkv_, gate_up_;
  parallel::RowParallelLinear output_, down_;
  parallel::GroupedLinear expert_gate_up_, expert_down_;
};

}  // namespace osler::model
