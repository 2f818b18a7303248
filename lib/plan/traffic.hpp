// Bytes that one rank sends to other ranks in tensor collectives, by axis, in one optimizer step. The formulas stand in
// docs/design.md, "Traffic"; a run counts the same bytes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "plan/collective.hpp"
#include "plan/forecast_input.hpp"
#include "plan/mesh.hpp"

namespace osler::plan {

enum class Axis { tp, ep, dp, edp };
std::string_view name_of(Axis axis);
GroupPlace place_of(Axis axis, const Mesh& mesh);

enum class Moved { activations, gradients, weights };
std::string_view name_of(Moved moved);
struct TrafficItem {
  Axis axis = Axis::tp;
  Moved moved = Moved::activations;
  std::string what;
  double num_bytes = 0;  ///< sent by one rank in a step
  double calls = 0;      ///< collectives in a step
};

/// Rows that a rank exchanges with other ep ranks in one step: tokens times top_k, over all layers and micro-batches,
/// each counted once although it travels several times.
struct RoutedRows {
  double sent = 0;      ///< to experts of other ranks
  double received = 0;  ///< for experts of this rank
};
/// Every expert gets as many rows as every other.
RoutedRows even_routing(const ForecastInput& input, const Mesh& mesh);

/// Items of all axes with more than one rank, in the order tp, ep, dp, edp, sent by `rank`: the first sends most where
/// an all-reduce does not divide. Not counted: what the control plane and the statistics of a step send to all ranks.
std::vector<TrafficItem> traffic_of_step(const ForecastInput& input, const Mesh& mesh, const RoutedRows& routed,
                                         std::int64_t rank = 0);
std::vector<TrafficItem> traffic_of_step(const ForecastInput& input, const Mesh& mesh);  ///< evenly routed
double traffic_bytes(const std::vector<TrafficItem>& traffic, Axis axis);

}  // namespace osler::plan
