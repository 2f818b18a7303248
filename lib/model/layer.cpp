#include "model/layer.hpp"

#include <ATen/ATen.h>

#include "model/cached_attention.hpp"
#include "model/gated_product.hpp"
#include "model/norm.hpp"
#include "model/recompute.hpp"
#include "parallel/token_dispatcher.hpp"

namespace osler::model {
namespace {

using parallel::Parameter;
using parallel::ParameterStore;

/// Of the experts that live here: `parts` of the first, of the second, ...
std::vector<std::string> expert_names(const ParameterStore& parameters, const std::string& prefix,
                                      std::int64_t num_experts, const std::vector<std::string>& parts) {
  std::vector<std::string> names;
  for (std::int64_t e = 0; e < num_experts; ++e) {
    for (const auto& part : parts) {
      std::string name = prefix + "experts." + std::to_string(e) + "." + part + ".weight";
      if (parameters.contains(name)) names.push_back(std::move(name));
    }
  }
  return names;
}

/// Adjacent parameters of experts, `num_parts` of each, as one [E, rows per expert, columns] weight.
Parameter per_expert(const ParameterStore& parameters, const std::vector<std::string>& names, std::size_t num_parts) {
  Parameter whole = parameters.merged(names);
  const auto num_experts = static_cast<std::int64_t>(names.size() / num_parts);
  const std::vector<std::int64_t> shape{num_experts, whole.data.size(0) / num_experts, whole.data.size(1)};
  whole.data = whole.data.view(shape);
  if (whole.grad.defined()) whole.grad = whole.grad.view(shape);
  return whole;
}

/// Selective recompute keeps the cheap recipe instead of the tensor.
parallel::Rebuild if_selective(const PassContext& pass, const parallel::Rebuild& rebuild) {
  return pass.recompute == config::Recompute::selective ? rebuild : parallel::Rebuild();
}

}  // namespace

Layer::Layer(const config::ModelConfig& config, const ParameterStore& parameters, const comm::MeshGroups& groups,
             std::int64_t index)
    : index_(index),
      head_dim_(config.head_dim),
      num_experts_(config.is_mixture ? config.num_experts : 0),
      top_k_(config.top_k),
      eps_(config.rms_norm_eps),
      ep_(&groups.ep()) {
  const std::string prefix = "model.layers." + std::to_string(index) + ".";
  const std::string self_attn = prefix + "self_attn.", mlp = prefix + "mlp.", moe = prefix + "block_sparse_moe.";
  comm::Group& tp = groups.tp();
  input_norm_ = parameters[prefix + "input_layernorm.weight"];
  post_attention_norm_ = parameters[prefix + "post_attention_layernorm.weight"];
  heads_ = {.num_heads = parameters[self_attn + "q_proj.weight"].data.size(0) / head_dim_,
            .num_kv_heads = parameters[self_attn + "k_proj.weight"].data.size(0) / head_dim_,
            .sliding_window = config.sliding_window};
  qkv_ = {parameters.merged({self_attn + "q_proj.weight", self_attn + "k_proj.weight", self_attn + "v_proj.weight"}),
          tp};
  output_ = {parameters[self_attn + "o_proj.weight"], tp};
  if (num_experts_ == 0) {
    gate_up_ = {parameters.merged({mlp + "gate_proj.weight", mlp + "up_proj.weight"}), tp};
    down_ = {parameters[mlp + "down_proj.weight"], tp};
    return;
  }
  router_ = parameters[moe + "gate.weight"];
  const auto names = [&](const std::vector<std::string>& parts) {
    return expert_names(parameters, moe, num_experts_, parts);
  };
  expert_gate_up_ = parallel::GroupedLinear(per_expert(parameters, names({"w1", "w3"}), 2));
  expert_down_ = parallel::GroupedLinear(per_expert(parameters, names({"w2"}), 1));
}

LayerOutput Layer::forward(const at::Tensor& residual_RD, const at::Tensor& delta_RD,
                           const std::shared_ptr<const PassContext>& pass) const {
  if (pass->recompute != config::Recompute::full || !parallel::records_backward(input_norm_))
    return run(residual_RD, delta_RD, *pass);
  const auto again = [this, pass](const at::Tensor& residual, const at::Tensor& delta) {
    const LayerOutput output = run(residual, delta, *pass);
    std::vector<at::Tensor> tensors{output.residual_RD, output.delta_RD};
    if (output.expert_RK.defined()) tensors.insert(tensors.end(), {output.router_logits_RE, output.expert_RK});
    return tensors;
  };
  const auto tensors = run_again_in_backward(again, residual_RD, delta_RD);
  LayerOutput output{tensors[0], tensors[1], {}, {}};
  if (tensors.size() == 4) std::tie(output.router_logits_RE, output.expert_RK) = std::tie(tensors[2], tensors[3]);
  return output;
}

LayerOutput Layer::run(const at::Tensor& residual_RD, const at::Tensor& delta_RD, const PassContext& pass) const {
  const Normed before = add_and_norm(residual_RD, delta_RD, input_norm_, eps_);
  const at::Tensor attended = attend(before.normed_RD, if_selective(pass, before.rebuild), pass);
  const Normed between = add_and_norm(before.residual_RD, attended, post_attention_norm_, eps_);
  LayerOutput output;
  output.residual_RD = between.residual_RD;
  if (num_experts_ == 0) {
    output.delta_RD = feed_forward(between.normed_RD, if_selective(pass, between.rebuild), pass);
  } else {
    mix_experts(between.normed_RD, if_selective(pass, between.rebuild), pass, output);
  }
  return output;
}

at::Tensor Layer::attend(const at::Tensor& normed_RD, const parallel::Rebuild& rebuild, const PassContext& pass) const {
  const std::int64_t rotated = heads_.num_heads + heads_.num_kv_heads;
  const at::Tensor qkv = qkv_(normed_RD, rebuild).view({-1, rotated + heads_.num_kv_heads, head_dim_});
  const at::Tensor rotated_qkv = apply_rope(qkv, rotated, pass.rope);
  return output_(pass.layout.cached.empty() ? attention(rotated_qkv, heads_, pass.layout)
                                            : cached_attention(rotated_qkv, heads_, pass.layout, index_));
}

at::Tensor Layer::feed_forward(const at::Tensor& normed_RD, const parallel::Rebuild& rebuild,
                               const PassContext& pass) const {
  const GatedProduct gated = gated_product(gate_up_(normed_RD, rebuild), {});
  return down_(gated.product_RF, if_selective(pass, gated.rebuild));
}

void Layer::mix_experts(const at::Tensor& normed_RD, const parallel::Rebuild& rebuild, const PassContext& pass,
                        LayerOutput& output) const {
  const at::Tensor logits_RE = parallel::linear(normed_RD, router_, rebuild);
  // In fp32 for every model dtype, and in transformers' order: softmax over all, top-k, renormalise.
  const auto [weight_RK, expert_RK] = at::topk(at::softmax(logits_RE, -1, at::kFloat), top_k_, -1);
  const at::Tensor normalised_RK = weight_RK / weight_RK.sum(-1, /*keepdim=*/true);
  const parallel::TokenDispatcher dispatcher(expert_RK, num_experts_, *ep_);
  const at::Tensor gate_up =
      expert_gate_up_(dispatcher.dispatch(normed_RD), dispatcher.rows_E(), dispatcher.dispatch_again(rebuild));
  const GatedProduct gated = gated_product(gate_up, dispatcher.dispatch_weights(normalised_RK));
  output.delta_RD =
      dispatcher.combine(expert_down_(gated.product_RF, dispatcher.rows_E(), if_selective(pass, gated.rebuild)));
  output.router_logits_RE = logits_RE.scalar_type() == at::kDouble ? logits_RE : logits_RE.to(at::kFloat);
  output.expert_RK = expert_RK;
}

}  // namespace osler::model
