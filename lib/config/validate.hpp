// What no single field can tell: fields that must agree, and what this version does not do yet. Local to config.
#pragma once

#include <functional>
#include <string>

#include "config/options.hpp"

namespace osler::config {

/// The option structs that a parser is bound to; nullptr for the others.
struct BoundOptions {
  const TokenizeOptions* tokenize = nullptr;
  const ConvertOptions* convert = nullptr;
  const RunOptions* run = nullptr;
  const ModelOptions* model = nullptr;
  const DataOptions* data = nullptr;
  const ParallelOptions* parallel = nullptr;
  const OptimOptions* optim = nullptr;
  const RouterOptions* router = nullptr;
  const CheckpointOptions* checkpoint = nullptr;
  const EvalOptions* eval = nullptr;
  const ClusterOptions* cluster = nullptr;
  const PlanOptions* plan = nullptr;
};

/// Calls report(key, problem) for everything that cannot be honoured.
void validate(const BoundOptions& bound, const std::string& verb,
              const std::function<void(const std::string& key, const std::string& problem)>& report);

/// "8 or 12": the multiples of `step` around `value`, for messages about numbers that do not divide.
std::string nearest_multiples(std::int64_t value, std::int64_t step);

}  // namespace osler::config
