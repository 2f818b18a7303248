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

/// Items of all axes with more than one rank, in the order tp, ep, dp, edp. Experts evenly loaded. Not counted: router
/// losses, gradient norms and what ranks agree on, together some kilobytes.
std::vector<TrafficItem> traffic_of_step(const ForecastInput& input, const Mesh& mesh);
double traffic_bytes(const std::vector<TrafficItem>& traffic, Axis axis);

}  // namespace osler::plan
