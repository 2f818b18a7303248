#include "plan/traffic.hpp"

#include "plan/shard_table.hpp"

namespace osler::plan {
namespace {

constexpr double kCountBytes = 8;  // rows for each expert are exchanged as int64

bool runs_forward_twice(const ForecastInput& input) {
  return input.parallel.recompute == config::Recompute::full;
}

void add_tensor_items(const ForecastInput& input, const Mesh& mesh, std::vector<TrafficItem>& items) {
  const double width = width_of(input.parallel.dtype), wide = accumulation_width_of(input.parallel.dtype);
  const auto layers = static_cast<double>(input.model.num_layers);
  const auto steps = static_cast<double>(mesh.accumulation_steps);
  const std::int64_t rows = rows_of(input.data);
  const double shard = static_cast<double>(rows / mesh.tp * input.model.hidden_size) * width;
  const double gather = gather_bytes(mesh.tp, shard);  // of rows; a reduce-scatter of them sends the same
  const auto add = [&](const char* what, double calls, double bytes) {
    items.push_back({Axis::tp, Moved::activations, what, steps * bytes, steps * calls});
  };
  const double block = runs_forward_twice(input) ? 7 : 5;  // forward 2, backward 3
  add("embedding", 2, 2 * gather);
  add("attention", layers * block, layers * block * gather);
  if (!input.model.is_mixture) add("feed-forward", layers * block, layers * block * gather);
  add("loss", 4, 2 * gather + all_reduce_bytes(mesh.tp, rows, wide) + all_reduce_bytes(mesh.tp, 2 * rows, wide));
  const RankShare share = share_of_rank(input.model, mesh);
  items.push_back({Axis::tp, Moved::gradients, "norms and routers", all_reduce_bytes(mesh.tp, share.whole, wide), 1});
  if (share.kv_replicas > 1)
    items.push_back({Axis::tp, Moved::gradients, "shared keys and values",
                     all_reduce_bytes(share.kv_replicas, share.shared_kv, wide), 1});
}

void add_expert_items(const ForecastInput& input, const Mesh& mesh, std::vector<TrafficItem>& items) {
  const double width = width_of(input.parallel.dtype), wide = accumulation_width_of(input.parallel.dtype);
  const double passes = static_cast<double>(input.model.num_layers * mesh.accumulation_steps);
  const double routed = static_cast<double>(rows_of(input.data) / mesh.tp * input.model.top_k);
  const bool twice = runs_forward_twice(input);
  const auto add = [&](const char* what, double calls, double bytes_each) {
    items.push_back(
        {Axis::ep, Moved::activations, what, passes * calls * all_to_all_bytes(mesh.ep, bytes_each), passes * calls});
  };
  // Forward: counts, rows and their weights out, rows back. Backward: gradients the other way.
  add("counts", twice ? 2 : 1, static_cast<double>(input.model.num_experts) * kCountBytes);
  add("rows", twice ? 6 : 4, routed * static_cast<double>(input.model.hidden_size) * width);
  add("routed weights", twice ? 3 : 2, routed * wide);
}

/// Gradients reduced and weights gathered, over the ranks that hold the same parameters.
void add_replica_items(const ForecastInput& input, Axis axis, std::int64_t num_ranks, std::int64_t held, double times,
                       std::vector<TrafficItem>& items) {
  if (num_ranks == 1 || held == 0) return;
  const double wide =
      input.practice.gradient_bytes > 0 ? input.practice.gradient_bytes : accumulation_width_of(input.parallel.dtype);
  const double shard = static_cast<double>(held) / static_cast<double>(num_ranks);
  const double gathers = input.practice.shards_weights ? 2 * times : 1;
  const char* what = axis == Axis::dp ? "dense" : "experts";
  items.push_back({axis, Moved::gradients, what, times * gather_bytes(num_ranks, shard * wide), times});
  items.push_back(
      {axis, Moved::weights, what, gathers * gather_bytes(num_ranks, shard * width_of(input.parallel.dtype)), gathers});
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

std::vector<TrafficItem> traffic_of_step(const ForecastInput& input, const Mesh& mesh) {
  std::vector<TrafficItem> items;
  if (mesh.tp > 1) add_tensor_items(input, mesh, items);
  if (mesh.ep > 1) add_expert_items(input, mesh, items);
  const RankShare share = share_of_rank(input.model, mesh);
  const double times = input.practice.shards_weights ? static_cast<double>(mesh.accumulation_steps) : 1;
  add_replica_items(input, Axis::dp, mesh.dp, share.dense, times, items);
  add_replica_items(input, Axis::edp, mesh.edp, share.experts, times, items);
  return items;
}

double traffic_bytes(const std::vector<TrafficItem>& traffic, Axis axis) {
  double bytes = 0;
  for (const TrafficItem& item : traffic)
    if (item.axis == axis) bytes += item.num_bytes;
  return bytes;
}

}  // namespace osler::plan
