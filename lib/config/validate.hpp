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
  const NeftuneOptions* neftune = nullptr;
  const CheckpointOptions* checkpoint = nullptr;
  const EvalOptions* eval = nullptr;
  const FilesOptions* files = nullptr;
  const ClusterOptions* cluster = nullptr;
  const PlanOptions* plan = nullptr;
  const StudyOptions* study = nullptr;
};

using Report = std::function<void(const std::string& key, const std::string& problem)>;

/// Reports what this version does not do yet, field by field.
void refuse_what_comes_later(const BoundOptions& bound, const std::string& verb, const Report& report);
/// Reports fields that contradict each other; only worth asking when each was read.
void refuse_contradictions(const BoundOptions& bound, const std::string& verb, const Report& report);

}  // namespace osler::config
