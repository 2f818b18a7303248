#include "plan/memory.hpp"

#include <algorithm>
#include <numeric>

#include "base/text_of.hpp"
#include "plan/collective.hpp"
#include "plan/loss_chunk.hpp"
#include "plan/shard_table.hpp"

namespace osler::plan {
namespace {

constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;
// CUDA context, cuBLAS workspaces and NCCL channels: what a process holds before it allocates a tensor. An assumption.
constexpr double kRuntimeBytes = 2 * kGiB;
constexpr double kIdBytes = 8;      // int64: tokens, labels, positions, experts, places of rows
constexpr double kRouterBytes = 4;  // the router's softmax and the weights from it are fp32 in every dtype

double count(std::int64_t value) {
  return static_cast<double>(value);
}

/// Bytes of what passes through a layer, for one of this rank's R/tp rows. A tensor of all R rows whose width is cut
/// over tp takes as much as one of R/tp whole rows.
struct RowBytes {
  double hidden = 0;          ///< residual stream, input of a projection
  double gathered = 0;        ///< hidden of all R rows; 0 with tp = 1, where it is the same tensor
  double attended = 0;        ///< output of the attention core
  double heads = 0;           ///< q, k and v; more tp ranks than key-value heads hold copies
  double ffn = 0;             ///< SwiGLU's product; a mixture: of the rows that experts get
  double copies = 0;          ///< a mixture: hidden of those rows
  double sums = 0;            ///< fp32 inverse deviations of two norms, logsumexp of every head
  double router = 0;          ///< probabilities, choices, their weights, and where each row went
  double router_outputs = 0;  ///< of it, what the losses need: kept even if the layer is run again
};

void add_router(const ForecastInput& input, const Mesh& mesh, double routed, RowBytes& row) {
  const double experts = count(input.model.num_experts), top_k = count(input.model.top_k);
  const double wide = accumulation_width_of(input.parallel.dtype);
  const bool has_aux = input.router.aux_loss != config::AuxLoss::off;
  // Logits and the losses' own softmax of them; choices.
  row.router_outputs = experts * wide * (has_aux ? 2 : 1) + top_k * kIdBytes;
  // Softmax, weights of the choices before and after they are normalised; places before and after they are sent.
  const double places = mesh.ep > 1 ? 2 * top_k + 2 * routed : 2 * top_k;
  row.router = row.router_outputs + (experts + top_k + routed) * kRouterBytes + places * kIdBytes;
}

RowBytes bytes_of_row(const ForecastInput& input, const Mesh& mesh) {
  const config::ModelConfig& model = input.model;
  const double width = width_of(input.parallel.dtype), head = count(model.head_dim) * width;
  const double routed = model.is_mixture ? count(model.top_k) * (mesh.ep > 1 ? input.imbalance : 1) : 1;
  RowBytes row;
  row.hidden = count(model.hidden_size) * width;
  row.gathered = mesh.tp > 1 ? count(mesh.tp) * row.hidden : 0;
  row.attended = count(model.num_heads) * head;
  row.heads = row.attended + 2 * count(std::max(model.num_kv_heads, mesh.tp)) * head;
  row.ffn = routed * count(model.intermediate_size) * width;
  row.copies = model.is_mixture ? routed * row.hidden : 0;
  row.sums = 2 * 4 + count(model.num_heads) * accumulation_width_of(input.parallel.dtype);
  if (model.is_mixture) add_router(input, mesh, routed, row);
  return row;
}

/// What a layer keeps of a row for its backward pass.
struct LayerBytes {
  double whole = 0;    ///< nothing is recomputed
  double rebuilt = 0;  ///< of it, what selective recompute makes again: normed inputs, products, copies not sent
  double inputs = 0;   ///< all that full recompute keeps
  double kept(config::Recompute recompute) const {
    return recompute == config::Recompute::none   ? whole
           : recompute == config::Recompute::full ? inputs
                                                  : whole - rebuilt;
  }
};
LayerBytes layer_bytes(const ForecastInput& input, const Mesh& mesh, const RowBytes& row) {
  // The core keeps each document's output, the projection after it their concatenation.
  const double attended = (input.data.cross_document ? 1 : 2) * row.attended;
  LayerBytes layer;
  layer.whole = 4 * row.hidden + row.heads + attended + 3 * row.ffn + row.copies + row.sums + row.router;
  layer.rebuilt = 2 * row.hidden + row.ffn + (mesh.ep > 1 ? 0 : row.copies);
  layer.inputs = 2 * row.hidden + row.router_outputs;
  return layer;
}

/// Rows of the host go through fused kernels; elsewhere, and in fp64, LibTorch's operations make temporaries.
bool has_fused_rows(const ForecastInput& input) {
  return input.cluster.gpu == "cpu" && input.parallel.dtype != config::Precision::fp64;
}

MemoryItem activations(const ForecastInput& input, const Mesh& mesh, const RowBytes& row, const LayerBytes& layer) {
  const double rows = count(rows_of(input.data)) / count(mesh.tp), layers = count(input.model.num_layers);
  // Of all R rows on every tp rank.
  const double tables = count(rows_of(input.data)) *
                        (3 * kIdBytes + count(input.model.head_dim) * accumulation_width_of(input.parallel.dtype));
  const char* formula = "every layer's inputs; ids, rotation";
  if (input.parallel.recompute == config::Recompute::none)
    formula = "all layers: residuals, normed inputs, q k v, attention, gate up, products; ids, rotation";
  if (input.parallel.recompute == config::Recompute::selective)
    formula = "all layers: residuals, q k v, attention, gate up; ids, rotation";
  return {"activations", rows * (layers * layer.kept(input.parallel.recompute) + row.hidden) + tables, formula};
}

/// What is held for a moment beside the activations.
struct Moment {
  double num_bytes = 0;
  std::string formula;
};

/// The last hidden states' norm and gradient, a chunk of logits, and in bf16 the head's gradient before it is added.
Moment moment_of_loss(const ForecastInput& input, const Mesh& mesh, const RowBytes& row) {
  const double width = width_of(input.parallel.dtype), wide = accumulation_width_of(input.parallel.dtype);
  const double rows = count(rows_of(input.data)) / count(mesh.tp);
  const std::int64_t vocab = input.model.vocab_size / mesh.tp;
  const std::int64_t chunk = loss_chunk_rows(rows_of(input.data), vocab, width);
  // LibTorch's softmax makes its own copy, and another to widen bf16.
  const double copies = has_fused_rows(input) ? 0 : width < wide ? 2 : 1;
  const double logits = count(chunk * vocab) * (width + copies * wide);
  const double weight_gradient = width < wide ? count(vocab * input.model.hidden_size) * width : 0;
  const double states = rows * (row.hidden + row.gathered + count(mesh.tp) * row.hidden);
  return {states + logits + weight_gradient,
          text_of("loss: ", chunk, " rows of logits, hidden states and their gradient")};
}

/// A weight's gradient before it is added to its sum, where their dtypes differ: `parts` matrices of one hidden and one
/// intermediate side. Experts come one by one on the host, at once from a grouped GEMM.
double weight_gradient_bytes(const ForecastInput& input, const Mesh& mesh, double parts) {
  const config::ModelConfig& model = input.model;
  const double width = width_of(input.parallel.dtype);
  if (width == accumulation_width_of(input.parallel.dtype)) return 0;
  const double matrix = count(model.hidden_size * model.intermediate_size) * width;
  if (!model.is_mixture) return parts * matrix / count(mesh.tp);
  return parts * matrix * (input.cluster.gpu == "cpu" ? 1 : count(model.num_experts / mesh.ep));
}

/// The fullest moment of the last layer, while all others keep what they keep: outputs or gradients and, with
/// recompute, what is made again, less what the layer has freed. The attention's own moments come when the
/// feed-forward's rows, which are wider in the published models, are freed.
Moment moment_of_layer(const ForecastInput& input, const Mesh& mesh, const RowBytes& row, const LayerBytes& layer) {
  const double rows = count(rows_of(input.data)) / count(mesh.tp);
  const config::Recompute recompute = input.parallel.recompute;
  const bool selective = recompute == config::Recompute::selective, fused = has_fused_rows(input);
  const bool is_mixture = input.model.is_mixture;
  const double again = recompute == config::Recompute::full ? layer.whole + row.hidden : 0;  // and its output
  const double freed = selective ? 0 : row.ffn;                                              // the product, once used
  // Experts gather nothing over tp; their rows' gradients are sent and sorted over ep.
  const double gathered = is_mixture ? 0 : row.gathered, copies = (mesh.ep > 1 ? 2 : 1) * row.copies;

  std::vector<Moment> moments;
  const auto add = [&](double of_row, double bytes, const char* formula) {
    moments.push_back({rows * (again + row.hidden + of_row) + bytes, formula});
  };
  // Selective recompute lets go of what it makes again when the layer's forward pass is over.
  add((is_mixture ? (mesh.ep > 1 ? 3 : 1) * row.copies : row.gathered) + (selective ? 2 * row.hidden + row.ffn : 0), 0,
      "forward: outputs of the feed-forward before they are summed");
  const double product_again = selective ? row.ffn : 0;
  add(copies + gathered + product_again, weight_gradient_bytes(input, mesh, 1),
      "backward: gradients of the output and of the last projection's weight");
  add(row.copies + gathered + product_again + row.ffn, 0, "backward: gradients of the output and of SwiGLU's product");
  const double temporaries = fused ? 0 : (is_mixture ? 4 : 3) * row.ffn;
  add(3 * row.ffn - freed + temporaries, 0, "backward: gradients of SwiGLU's product, gate and up");
  const double input_again = selective ? row.hidden + (mesh.ep > 1 ? 0 : row.copies) : 0;
  add(gathered + input_again - freed, weight_gradient_bytes(input, mesh, 2),
      "backward: gradients of the feed-forward's first weights");
  add((is_mixture ? copies : row.gathered + row.hidden) + input_again - freed, 0,
      "backward: gradients of the feed-forward's input");
  return *std::max_element(moments.begin(), moments.end(),
                           [](const Moment& a, const Moment& b) { return a.num_bytes < b.num_bytes; });
}

/// On the host: the same in the layer before, which the last one has made room for, while the last one's gradients are
/// received from the other ranks.
Moment moment_of_reduction(const ForecastInput& input, const Mesh& mesh, const LayerBytes& layer,
                           const RankShare& share, Moment backward) {
  if (input.cluster.gpu != "cpu" || input.model.num_layers == 1) return {};
  const double rows = count(rows_of(input.data)) / count(mesh.tp);
  const double wide = accumulation_width_of(input.parallel.dtype);
  const auto inbox = [&](std::int64_t sharers, std::int64_t bucket) {
    return sharers > 1 ? std::min(count(kInboxBytes), count(bucket) * wide) : 0;
  };
  backward.num_bytes += inbox(mesh.dp, share.dense_of_layer) + inbox(mesh.edp, share.experts_of_layer) -
                        rows * layer.kept(input.parallel.recompute);
  backward.formula += "; inboxes of reductions";
  return backward;
}

}  // namespace

std::vector<MemoryItem> memory_of_rank(const ForecastInput& input, const Mesh& mesh) {
  const double width = width_of(input.parallel.dtype), wide = accumulation_width_of(input.parallel.dtype);
  const RankShare share = share_of_rank(input.model, mesh);
  const bool has_masters = input.parallel.dtype == config::Precision::bf16;
  const RowBytes row = bytes_of_row(input, mesh);
  const LayerBytes layer = layer_bytes(input, mesh, row);

  std::vector<MemoryItem> items;
  items.push_back(
      {"weights", count(share.held()) * width, text_of(width, " B each, in ", name_of(input.parallel.dtype))});
  items.push_back({"gradients", count(share.held()) * wide, text_of(wide, " B each, summed in fp", wide * 8)});
  items.push_back({"optimizer", count(share.owned(mesh)) * wide * (has_masters ? 3 : 2),
                   text_of(has_masters ? "master and " : "", "two moments, ", wide, " B each, sharded over dp = ",
                           mesh.dp, input.model.is_mixture ? text_of(", experts over edp = ", mesh.edp) : "")});
  items.push_back(activations(input, mesh, row, layer));
  Moment fullest = moment_of_layer(input, mesh, row, layer);
  for (const Moment& other :
       {moment_of_loss(input, mesh, row), moment_of_reduction(input, mesh, layer, share, fullest)})
    if (other.num_bytes > fullest.num_bytes) fullest = other;
  items.push_back({"workspace", fullest.num_bytes, fullest.formula});
  if (input.cluster.gpu != "cpu") items.push_back({"runtime", kRuntimeBytes, "CUDA context, cuBLAS, NCCL (assumed)"});
  return items;
}

double total_bytes(const std::vector<MemoryItem>& items) {
  return std::accumulate(items.begin(), items.end(), 0.0,
                         [](double sum, const MemoryItem& item) { return sum + item.num_bytes; });
}

double largest_imbalance(const ForecastInput& input, const Mesh& mesh, double device_bytes) {
  const auto fits = [&](double imbalance) {
    ForecastInput at = input;
    at.imbalance = imbalance;
    return total_bytes(memory_of_rank(at, mesh)) <= device_bytes;
  };
  double fitting = 1, most = count(mesh.ep);
  if (!fits(fitting)) return 0;
  if (fits(most)) return most;
  while (most - fitting > 1e-3) {  // memory grows with it, but which moment is the fullest may change
    const double middle = (fitting + most) / 2;
    (fits(middle) ? fitting : most) = middle;
  }
  return fitting;
}

}  // namespace osler::plan
