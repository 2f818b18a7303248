// What a forecast is made from: the options of a run, its model, and how the trainer moves and overlaps what it moves.
#pragma once

#include "config/model_config.hpp"
#include "config/options.hpp"

namespace osler::plan {

/// How a trainer hides communication. The defaults are ours; tests describe other systems with it, from their
/// documents, to set the forecast against their published figures.
struct Practice {
  bool overlaps_gradients = true;  ///< their reduction runs beside the backward pass of the last micro-batch,
                                   ///< unless parallel.overlap_reduction is off
  bool overlaps_weights = false;   ///< the gathering of updated weights runs beside the next forward pass
  bool overlaps_tensor = false;    ///< tp collectives run beside the GEMMs that need them
  bool shards_weights = false;     ///< FSDP: weights gathered twice, gradients reduced once in every micro-batch
  double gradient_bytes = 0;       ///< of one reduced gradient; 0: the accumulation dtype
  double recomputed_gemms = -1;    ///< share of the forward GEMMs run again; -1: what parallel.recompute says
};

struct ForecastInput {
  config::ModelConfig model;
  config::RunOptions run;
  config::DataOptions data;
  config::ParallelOptions parallel;
  config::RouterOptions router;
  config::ClusterOptions cluster;
  double imbalance = 1;  ///< rows of the fullest expert rank over the mean (plan.imbalance)
  Practice practice = {};
};

/// Bytes of a weight or activation, and of a gradient sum, master or moment.
inline double width_of(config::Precision precision) {
  return precision == config::Precision::fp64 ? 8 : precision == config::Precision::fp32 ? 4 : 2;
}
inline double accumulation_width_of(config::Precision precision) {
  return precision == config::Precision::fp64 ? 8 : 4;
}

/// Rows of one micro-batch of a dp rank: R in the formulas of docs/design.md.
inline std::int64_t rows_of(const config::DataOptions& data) {
  return data.micro_batch * data.sequence_length;
}

}  // namespace osler::plan
