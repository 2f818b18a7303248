#include "plan/traffic.hpp"

#include <algorithm>

#include "plan/loss_chunk.hpp"
#include "plan/shard_table.hpp"

namespace osler::plan {
namespace {

constexpr double kCountBytes = 8;         // rows for each expert are exchanged as int64
constexpr double kRoutedWeightBytes = 4;  // the router's softmax is in fp32 for every model dtype

bool runs_forward_twice(const ForecastInput& input) {
  return input.parallel.recompute == config::Recompute::full;
}

double layer_passes(const ForecastInput& input, const Mesh& mesh) {
  return static_cast<double>(input.model.num_layers * mesh.accumulation_steps);
}

/// What one rank sends over tp.
class TensorItems {
 public:
  TensorItems(const ForecastInput& input, const Mesh& mesh, std::int64_t rank, std::vector<TrafficItem>& items)
      : input_(input),
        mesh_(mesh),
        tp_rank_(rank % mesh.tp),
        rows_(rows_of(input.data)),
        wide_(accumulation_width_of(input.parallel.dtype)),
        items_(items) {
    const double shard =
        static_cast<double>(rows_ / mesh.tp * input.model.hidden_size) * width_of(input.parallel.dtype);
    gather_ = gather_bytes(mesh.tp, shard);
  }

  void add_all() {
    const auto layers = static_cast<double>(input_.model.num_layers);
    const double block = runs_forward_twice(input_) ? 7 : 5;  // forward 2, backward 3
    add("embedding", 2, 2 * gather_);
    add("attention", layers * block, layers * block * gather_);
    if (!input_.model.is_mixture) add("feed-forward", layers * block, layers * block * gather_);
    add_loss();
    add_router_losses();
    add_gradients();
  }

 private:
  void add(const char* what, double calls, double bytes) {
    const auto steps = static_cast<double>(mesh_.accumulation_steps);
    items_.push_back({Axis::tp, Moved::activations, what, steps * bytes, steps * calls});
  }
  double all_reduce(std::int64_t count) const { return all_reduce_bytes(mesh_.tp, count, wide_, tp_rank_); }

  void add_loss() {
    const std::int64_t vocab = input_.model.vocab_size / mesh_.tp;
    const std::int64_t chunk = loss_chunk_rows(rows_, vocab, width_of(input_.parallel.dtype));
    double calls = 2, bytes = 2 * gather_;
    for (std::int64_t begin = 0; begin < rows_; begin += chunk) {
      const std::int64_t rows = std::min(chunk, rows_ - begin);
      calls += 2;
      bytes += all_reduce(rows) + all_reduce(2 * rows);
    }
    add("loss", calls, bytes);
  }
  /// Rows and probabilities of each expert, of all layers together (hf) or of each (megatron), and the sum of z.
  void add_router_losses() {
    if (!input_.model.is_mixture) return;
    const config::AuxLoss aux = input_.router.aux_loss;
    const std::int64_t loads = aux == config::AuxLoss::hf         ? 1
                               : aux == config::AuxLoss::megatron ? input_.model.num_layers
                                                                  : 0;
    const std::int64_t count = loads * 2 * input_.model.num_experts + (input_.router.z_coefficient > 0 ? 1 : 0);
    if (count > 0) add("router losses", 1, all_reduce(count));
  }
  void add_gradients() {
    TrafficItem item{Axis::tp, Moved::gradients, "shared parameters"};
    for (const Replicated& part : share_of_rank(input_.model, mesh_).replicated) {
      item.num_bytes += all_reduce_bytes(part.replicas, part.size, wide_, tp_rank_ % part.replicas);
      item.calls += 1;
    }
    items_.push_back(item);
  }

  const ForecastInput& input_;
  const Mesh& mesh_;
  std::int64_t tp_rank_, rows_;
  double wide_, gather_ = 0;  ///< gather_: of the rows of all ranks; a reduce-scatter of them sends the same
  std::vector<TrafficItem>& items_;
};

void add_expert_items(const ForecastInput& input, const Mesh& mesh, const RoutedRows& routed,
                      std::vector<TrafficItem>& items) {
  const double passes = layer_passes(input, mesh), twice = runs_forward_twice(input) ? 1 : 0;
  const double row_bytes = static_cast<double>(input.model.hidden_size) * width_of(input.parallel.dtype);
  const auto add = [&](const char* what, double calls, double bytes) {
    items.push_back({Axis::ep, Moved::activations, what, bytes, passes * calls});
  };
  // Forward: counts, rows and their weights out, rows back. Backward: gradients the other way.
  add("counts", 1 + twice,
      passes * (1 + twice) * all_to_all_bytes(mesh.ep, static_cast<double>(input.model.num_experts) * kCountBytes));
  add("rows", 4 + 2 * twice, (2 + twice) * (routed.sent + routed.received) * row_bytes);
  add("routed weights", 2 + twice, ((1 + twice) * routed.sent + routed.received) * kRoutedWeightBytes);
}

/// Gradients reduced and weights gathered, bucket by bucket, over the ranks that hold the same parameters.
void add_replica_items(const ForecastInput& input, const Mesh& mesh, const RankShare& share, Axis axis,
                       std::vector<TrafficItem>& items) {
  const bool dense = axis == Axis::dp;
  const std::int64_t num_ranks = dense ? mesh.dp : mesh.edp, held = dense ? share.dense : share.experts;
  if (num_ranks == 1 || held == 0) return;
  const double wide =
      input.practice.gradient_bytes > 0 ? input.practice.gradient_bytes : accumulation_width_of(input.parallel.dtype);
  const double shard = static_cast<double>(held / num_ranks);
  const double reductions = input.practice.shards_weights ? static_cast<double>(mesh.accumulation_steps) : 1;
  const double gathers = input.practice.shards_weights ? 2 * reductions : 1;
  const auto buckets = static_cast<double>(dense ? share.dense_buckets : share.expert_buckets);
  const auto add = [&](Moved moved, double times, double width) {
    items.push_back(
        {axis, moved, dense ? "dense" : "experts", times * gather_bytes(num_ranks, shard * width), times * buckets});
  };
  add(Moved::gradients, reductions, wide);
  add(Moved::weights, gathers, width_of(input.parallel.dtype));
}

}  // namespace

std::string_view name_of(Axis axis) {
  switch (axis) {
    case Axis::tp:
      return "tp";
    case Axis::ep:
      return "ep";
    case Axis::dp:
      return "dp";
    case Axis::edp:
      return "edp";
  }
  return "?";
}

std::string_view name_of(Moved moved) {
  switch (moved) {
    case Moved::activations:
      return "activations";
    case Moved::gradients:
      return "gradients";
    case Moved::weights:
      return "weights";
  }
  return "?";
}

GroupPlace place_of(Axis axis, const Mesh& mesh) {
  switch (axis) {
    case Axis::tp:
      return {mesh.tp, 1};
    case Axis::ep:
      return {mesh.ep, 1};
    case Axis::dp:
      return {mesh.dp, mesh.tp};
    case Axis::edp:
      return {mesh.edp, mesh.ep};
  }
  return {};
}

RoutedRows even_routing(const ForecastInput& input, const Mesh& mesh) {
  const auto routed = static_cast<double>(rows_of(input.data) / mesh.tp * input.model.top_k);
  const double leave = layer_passes(input, mesh) * all_to_all_bytes(mesh.ep, routed);
  return {.sent = leave, .received = leave};
}

std::vector<TrafficItem> traffic_of_step(const ForecastInput& input, const Mesh& mesh, const RoutedRows& routed,
                                         std::int64_t rank) {
  std::vector<TrafficItem> items;
  if (mesh.tp > 1) TensorItems(input, mesh, rank, items).add_all();
  if (mesh.ep > 1) add_expert_items(input, mesh, routed, items);
  const RankShare share = share_of_rank(input.model, mesh);
  add_replica_items(input, mesh, share, Axis::dp, items);
  add_replica_items(input, mesh, share, Axis::edp, items);
  return items;
}

std::vector<TrafficItem> traffic_of_step(const ForecastInput& input, const Mesh& mesh) {
  return traffic_of_step(input, mesh, even_routing(input, mesh));
}

double traffic_bytes(const std::vector<TrafficItem>& traffic, Axis axis) {
  double bytes = 0;
  for (const TrafficItem& item : traffic)
    if (item.axis == axis) bytes += item.num_bytes;
  return bytes;
}

}  // namespace osler::plan
