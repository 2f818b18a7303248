#include "plan/forecast.hpp"

#include <algorithm>

#include "base/text_of.hpp"
#include "plan/piece.hpp"
#include "plan/throughput.hpp"

namespace osler::plan {
namespace {

constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;
constexpr std::int64_t kLossChunkRows = 512;  // lib/loss: rows whose logits exist at a time
// CUDA context, cuBLAS workspaces and NCCL channels: what a process holds before it allocates a tensor. An assumption.
constexpr double kRuntimeBytes = 2 * kGiB;
// MPT-7B on 8 H100, sequence 4096 with recompute: 40.4 % (llm-foundry, scripts/train/benchmarking/README.md).
constexpr double kDenseEfficiency = 0.40;
// Mixtral-8x7B on H100 in bf16: 323 of 989 TFLOP/s (Megatron-LM v0.6, CHANGELOG).
constexpr double kMixtureEfficiency = 0.33;

double width_of(config::Precision precision) {
  return precision == config::Precision::fp64 ? 8 : precision == config::Precision::fp32 ? 4 : 2;
}
double accumulation_width_of(config::Precision precision) {
  return precision == config::Precision::fp64 ? 8 : 4;
}

struct RankShare {
  std::int64_t dense = 0;
  std::int64_t experts = 0;
};
RankShare share_of_rank(const std::vector<ShardRow>& shards) {
  RankShare share;
  for (const ShardRow& row : shards) (row.cut == Cut::experts ? share.experts : share.dense) += row.rank_parameters;
  return share;
}

struct Kind {
  const char* what;
  Cut cut;
};
Kind kind_of(const ParameterSpec& spec) {
  const auto holds = [&](const char* part) { return spec.name.find(part) != std::string::npos; };
  if (spec.shape.size() == 1) return {"norms", Cut::none};
  if (holds(".experts.")) return {"experts", Cut::experts};
  if (holds("block_sparse_moe.gate")) return {"routers", Cut::none};
  if (holds(".self_attn.")) return {"attention", Cut::tensor};
  if (holds(".mlp.")) return {"feed-forward", Cut::tensor};
  return holds("embed_tokens") ? Kind{"embedding", Cut::tensor} : Kind{"head", Cut::tensor};
}

/// Elements that one layer keeps of one row for its backward pass.
struct LayerActivations {
  double kept = 0;     ///< with selective recompute: residuals, q k v, attention output, gate and up
  double rebuilt = 0;  ///< what selective recompute makes again: normed inputs (copies for experts), SwiGLU products
  double inputs = 0;   ///< all that full recompute keeps
};
LayerActivations activations_of_row(const config::ModelConfig& model) {
  const auto hidden = static_cast<double>(model.hidden_size);
  const auto routed = static_cast<double>(model.is_mixture ? model.top_k : 1);
  const auto heads = static_cast<double>((2 * model.num_heads + 2 * model.num_kv_heads) * model.head_dim);
  const auto ffn = static_cast<double>(model.intermediate_size);
  LayerActivations row;
  row.inputs = 2 * hidden;
  row.kept = 2 * hidden + heads + 2 * routed * ffn;
  row.rebuilt = 2 * hidden + routed * ffn + (model.is_mixture ? routed * hidden : 0);
  return row;
}

MemoryItem activations(const ForecastInput& input, double rows) {
  const LayerActivations row = activations_of_row(input.model);
  const double bytes_of_element = width_of(input.parallel.dtype) * rows;
  const auto layers = static_cast<double>(input.model.num_layers);
  const double whole_layer = (row.kept + row.rebuilt) * bytes_of_element;
  switch (input.parallel.recompute) {
    case config::Recompute::none:
      return {"activations", layers * whole_layer,
              "all layers: residuals, normed inputs, q k v, attention, gate up, products"};
    case config::Recompute::selective:
      return {"activations", layers * row.kept * bytes_of_element + row.rebuilt * bytes_of_element,
              "all layers: residuals, q k v, attention, gate up; one layer's rebuilt parts"};
    case config::Recompute::full:
      return {"activations", layers * row.inputs * bytes_of_element + whole_layer,
              "every layer's inputs; one layer run again"};
  }
  return {};
}

std::vector<MemoryItem> memory_items(const ForecastInput& input, const Mesh& mesh, const RankShare& share) {
  const double width = width_of(input.parallel.dtype);
  const double wide = accumulation_width_of(input.parallel.dtype);
  const auto held = static_cast<double>(share.dense + share.experts);
  const double sharded = static_cast<double>(share.dense) / static_cast<double>(mesh.dp) +
                         static_cast<double>(share.experts) / static_cast<double>(mesh.edp);
  const bool has_masters = input.parallel.dtype == config::Precision::bf16;
  const double rows =
      static_cast<double>(input.data.micro_batch * input.data.sequence_length) / static_cast<double>(mesh.tp);
  const double chunk = std::min(rows, static_cast<double>(kLossChunkRows));
  const auto hidden = static_cast<double>(input.model.hidden_size);
  const LayerActivations row = activations_of_row(input.model);

  std::vector<MemoryItem> items;
  items.push_back({"weights", held * width, text_of(width, " B each, in ", name_of(input.parallel.dtype))});
  items.push_back({"gradients", held * wide, text_of(wide, " B each, summed in fp", wide * 8)});
  items.push_back({"optimizer", sharded * wide * (has_masters ? 3 : 2),
                   text_of(has_masters ? "master and " : "", "two moments, ", wide, " B each, sharded over dp = ",
                           mesh.dp, input.model.is_mixture ? text_of(", experts over edp = ", mesh.edp) : "")});
  items.push_back(activations(input, rows));
  items.push_back(
      {"backward workspace", (row.kept + row.rebuilt) * rows * width, "gradients of one layer's activations"});
  items.push_back({"loss", chunk * static_cast<double>(input.model.vocab_size) * width + 3 * rows * hidden * width,
                   text_of(chunk, " rows of logits; hidden states and their gradient")});
  if (input.cluster.gpu != "cpu") items.push_back({"runtime", kRuntimeBytes, "CUDA context, cuBLAS, NCCL (assumed)"});
  return items;
}

/// Seconds a step spends on reduce-scatter of gradients and all-gather of weights in a ring, over the nodes' network as
/// soon as the group leaves a node.
double communication_seconds(const ForecastInput& input, const Mesh& mesh, const RankShare& share) {
  const double bytes_each = accumulation_width_of(input.parallel.dtype) + width_of(input.parallel.dtype);
  const auto ring = [&](std::int64_t count, std::int64_t group, std::int64_t stride) {
    if (group * stride <= input.cluster.gpus_per_node)
      return 0.0;  // inside a node: NVLink, an order of magnitude faster
    const double passes = static_cast<double>(group - 1) / static_cast<double>(group);
    return static_cast<double>(count) * bytes_each * passes / (input.cluster.network_gbytes_per_s * 1e9);
  };
  return ring(share.dense, mesh.dp, mesh.tp) + ring(share.experts, mesh.edp, mesh.ep);
}

}  // namespace

std::int64_t checkpoint_bytes(const config::ModelConfig& model, config::Precision precision) {
  return count_parameters(model).total * static_cast<std::int64_t>(3 * accumulation_width_of(precision));
}

std::vector<ShardRow> shard_table(const config::ModelConfig& model, const Mesh& mesh) {
  std::vector<ShardRow> rows;
  for (const ParameterSpec& spec : parameter_specs(model)) {
    const Kind kind = kind_of(spec);
    auto row = std::find_if(rows.begin(), rows.end(), [&](const ShardRow& known) { return known.what == kind.what; });
    if (row == rows.end()) row = rows.insert(rows.end(), ShardRow{kind.what, kind.cut});
    const std::int64_t parts = kind.cut == Cut::experts ? mesh.ep : kind.cut == Cut::tensor ? mesh.tp : 1;
    row->parameters += num_elements(spec.shape);
    row->rank_parameters += num_elements(spec.shape) / parts;
  }
  for (ShardRow& row : rows) {
    const std::int64_t owners = row.cut == Cut::experts ? mesh.edp : mesh.dp;
    row.rank_optimizer = (row.rank_parameters + owners - 1) / owners;
  }
  return rows;
}

Forecast compute_forecast(const ForecastInput& input, const Mesh& mesh) {
  Forecast forecast;
  forecast.shards = shard_table(input.model, mesh);
  const RankShare share = share_of_rank(forecast.shards);
  forecast.parameters = count_parameters(input.model);
  forecast.rank_parameters = share.dense + share.experts;
  forecast.memory = memory_items(input, mesh, share);
  for (const MemoryItem& item : forecast.memory) forecast.memory_bytes += item.num_bytes;
  forecast.device_bytes = device_memory_bytes(input.cluster.gpu);
  forecast.tokens_per_step = input.data.global_batch * input.data.sequence_length;
  forecast.run_tokens = input.run.steps * forecast.tokens_per_step;
  forecast.checkpoint_bytes = checkpoint_bytes(input.model, input.parallel.dtype);
  forecast.flops_per_token = flops_per_token(input.model, input.data.sequence_length);
  const double peak = peak_flops(input.cluster.gpu, input.parallel.dtype);
  if (peak == 0) return forecast;
  forecast.efficiency = input.model.is_mixture ? kMixtureEfficiency : kDenseEfficiency;
  forecast.efficiency_source =
      input.model.is_mixture ? "Mixtral-8x7B on H100, Megatron-LM v0.6" : "MPT-7B on 8 H100, llm-foundry";
  forecast.compute_s = static_cast<double>(forecast.tokens_per_step) * forecast.flops_per_token /
                       (static_cast<double>(mesh.world) * peak * forecast.efficiency);
  forecast.communication_s = communication_seconds(input, mesh, share);
  return forecast;
}

}  // namespace osler::plan
