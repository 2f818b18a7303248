// Device memory of one rank by kind. Each item carries its formula.
#pragma once

#include <string>
#include <vector>

#include "plan/forecast_input.hpp"
#include "plan/mesh.hpp"

namespace osler::plan {

struct MemoryItem {
  std::string what;
  double num_bytes = 0;
  std::string formula;
};

/// Weights, gradients, optimizer, activations, the workspace of the fullest moment of a step and, on a GPU, the
/// runtime; of the rank whose experts get input.imbalance times the mean of rows. docs/design.md, "Memory".
std::vector<MemoryItem> memory_of_rank(const ForecastInput& input, const Mesh& mesh);
double total_bytes(const std::vector<MemoryItem>& items);

/// The largest imbalance that fits into `device_bytes`, at most ep, which is every row on one rank; 0 where even an
/// even load does not fit.
double largest_imbalance(const ForecastInput& input, const Mesh& mesh, double device_bytes);

}  // namespace osler::plan
