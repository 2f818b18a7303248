#include "plan/memory.hpp"

#include <algorithm>
#include <numeric>

#include "base/text_of.hpp"
#include "plan/loss_chunk.hpp"
#include "plan/shard_table.hpp"

namespace osler::plan {
namespace {

constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;
// CUDA context, cuBLAS workspaces and NCCL channels: what a process holds before it allocates a tensor. An assumption.
constexpr double kRuntimeBytes = 2 * kGiB;

/// Elements that one layer keeps of one row for its backward pass.
struct LayerActivations {
  double kept = 0;     ///< with selective recompute: residuals, q k v, attention output, gate and up
  double rebuilt = 0;  ///< what selective recompute makes again: normed inputs (copies for experts), SwiGLU products
  double inputs = 0;   ///< all that full recompute keeps
  double whole() const { return kept + rebuilt; }
};
LayerActivations activations_of_row(const ForecastInput& input, const Mesh& mesh) {
  const config::ModelConfig& model = input.model;
  const auto hidden = static_cast<double>(model.hidden_size);
  const double routed = model.is_mixture ? static_cast<double>(model.top_k) * input.imbalance : 1;
  const std::int64_t kv_heads = std::max(model.num_kv_heads, mesh.tp);  // more tp ranks than heads hold copies
  const auto heads = static_cast<double>((2 * model.num_heads + 2 * kv_heads) * model.head_dim);
  const auto ffn = static_cast<double>(model.intermediate_size);
  LayerActivations row;
  row.inputs = 2 * hidden;
  row.kept = 2 * hidden + heads + 2 * routed * ffn;
  row.rebuilt = 2 * hidden + routed * ffn + (model.is_mixture ? routed * hidden : 0);
  return row;
}

MemoryItem activations(const ForecastInput& input, const LayerActivations& row, double row_bytes) {
  const auto layers = static_cast<double>(input.model.num_layers);
  switch (input.parallel.recompute) {
    case config::Recompute::none:
      return {"activations", layers * row.whole() * row_bytes,
              "all layers: residuals, normed inputs, q k v, attention, gate up, products"};
    case config::Recompute::selective:
      return {"activations", (layers * row.kept + row.rebuilt) * row_bytes,
              "all layers: residuals, q k v, attention, gate up; one layer's rebuilt parts"};
    case config::Recompute::full:
      return {"activations", (layers * row.inputs + row.whole()) * row_bytes,
              "every layer's inputs; one layer run again"};
  }
  return {};
}

void add_buffers(const ForecastInput& input, const Mesh& mesh, std::vector<MemoryItem>& items) {
  const double width = width_of(input.parallel.dtype);
  const auto hidden = static_cast<double>(input.model.hidden_size);
  const auto rows = static_cast<double>(rows_of(input.data));
  const auto tp = static_cast<double>(mesh.tp);
  double bytes = 0;
  std::string formula;
  if (mesh.tp > 1) {
    bytes += 2 * rows * hidden * width;
    formula = "tp: a gathered input and an output before its reduce-scatter";
  }
  if (mesh.ep > 1) {
    const double routed = rows / tp * static_cast<double>(input.model.top_k);
    bytes += (1 + input.imbalance) * routed * (hidden * width + accumulation_width_of(input.parallel.dtype));
    formula += text_of(formula.empty() ? "" : "; ", "ep: rows sent and received with their weights");
  }
  if (bytes > 0) items.push_back({"communication", bytes, formula});
}

void add_loss(const ForecastInput& input, const Mesh& mesh, std::vector<MemoryItem>& items) {
  const double width = width_of(input.parallel.dtype);
  const auto rows = static_cast<double>(rows_of(input.data));
  const std::int64_t vocab = input.model.vocab_size / mesh.tp;
  const std::int64_t chunk = loss_chunk_rows(rows_of(input.data), vocab, width);
  const double states = (2 + 1.0 / static_cast<double>(mesh.tp)) * rows * static_cast<double>(input.model.hidden_size);
  items.push_back({"loss", (static_cast<double>(chunk * vocab) + states) * width,
                   text_of(chunk, " rows of logits; hidden states and their gradient")});
}

}  // namespace

std::vector<MemoryItem> memory_of_rank(const ForecastInput& input, const Mesh& mesh) {
  const double width = width_of(input.parallel.dtype), wide = accumulation_width_of(input.parallel.dtype);
  const RankShare share = share_of_rank(input.model, mesh);
  const auto held = static_cast<double>(share.held()), sharded = static_cast<double>(share.owned(mesh));
  const bool has_masters = input.parallel.dtype == config::Precision::bf16;
  const double row_bytes = static_cast<double>(rows_of(input.data)) / static_cast<double>(mesh.tp) * width;
  const LayerActivations row = activations_of_row(input, mesh);

  std::vector<MemoryItem> items;
  items.push_back({"weights", held * width, text_of(width, " B each, in ", name_of(input.parallel.dtype))});
  items.push_back({"gradients", held * wide, text_of(wide, " B each, summed in fp", wide * 8)});
  items.push_back({"optimizer", sharded * wide * (has_masters ? 3 : 2),
                   text_of(has_masters ? "master and " : "", "two moments, ", wide, " B each, sharded over dp = ",
                           mesh.dp, input.model.is_mixture ? text_of(", experts over edp = ", mesh.edp) : "")});
  items.push_back(activations(input, row, row_bytes));
  items.push_back({"backward workspace", row.whole() * row_bytes, "gradients of one layer's activations"});
  add_buffers(input, mesh, items);
  add_loss(input, mesh, items);
  if (input.cluster.gpu != "cpu") items.push_back({"runtime", kRuntimeBytes, "CUDA context, cuBLAS, NCCL (assumed)"});
  return items;
}

double total_bytes(const std::vector<MemoryItem>& items) {
  return std::accumulate(items.begin(), items.end(), 0.0,
                         [](double sum, const MemoryItem& item) { return sum + item.num_bytes; });
}

double largest_imbalance(const ForecastInput& input, const Mesh& mesh, double device_bytes) {
  const auto bytes_at = [&](double imbalance) {
    ForecastInput at = input;
    at.imbalance = imbalance;
    return total_bytes(memory_of_rank(at, mesh));
  };
  const double even = bytes_at(1), slope = bytes_at(2) - even;  // memory is linear in it
  if (even > device_bytes) return 0;
  const auto most = static_cast<double>(mesh.ep);
  return slope > 0 ? std::min(most, 1 + (device_bytes - even) / slope) : most;
}

}  // namespace osler::plan
