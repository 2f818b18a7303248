// Validation: mean token loss of every held-out set, summed over ranks and divided once.
#include <ATen/core/grad_mode.h>

#include <nlohmann/json.hpp>

#include "base/log.hpp"
#include "train/trainer.hpp"

namespace osler::train {

Trainer::State Trainer::validate() {
  const at::NoGradGuard no_gradients;
  nlohmann::ordered_json row = {
      {"schema_version", kMetricsSchemaVersion}, {"step", step_}, {"tokens", run_state().tokens}};
  std::string line;
  for (const auto& set : inputs_.validation) {
    StepStats stats({.num_sources = 1}, groups_, world_.device());
    for (const auto& batch : set.batches) {
      const ForwardPass pass = forward(batch, {});
      data::Batch of_one_source = batch;
      of_one_source.source_B.assign(batch.source_B.size(), 0);
      stats.add(of_one_source,
                loss::cross_entropy(pass.output.hidden_RD, model_->head(), pass.rows.labels_R, 1.0, groups_.tp()));
    }
    const double loss = stats.reduce(groups_.world(), {}).loss();
    row["valid/" + set.name] = loss;
    line += text_of("  ", set.name, " ", loss);
  }
  if (owner_) owner_->require_ours();
  metrics_->append(row);
  log::info("step ", step_, "  validation loss", line);
  since_row_.restart();
  steps_since_row_ = 0;
  return state_after_validation();
}

}  // namespace osler::train
