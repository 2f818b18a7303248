// What a step tells people: one metrics row (docs/formats.md) and one console line.
#include <algorithm>
#include <cmath>
#include <iomanip>
#include <nlohmann/json.hpp>
#include <numeric>
#include <sstream>

#include "base/log.hpp"
#include "base/sha256.hpp"
#include "plan/throughput.hpp"
#include "train/memory.hpp"
#include "train/trainer.hpp"

namespace osler::train {

namespace {

/// Busiest expert against the mean: 1 is balanced, num_experts is collapse.
double max_over_mean(const std::vector<double>& load_E) {
  const double sum = std::accumulate(load_E.begin(), load_E.end(), 0.0);
  return *std::max_element(load_E.begin(), load_E.end()) * static_cast<double>(load_E.size()) / sum;
}

std::vector<std::int64_t> whole_numbers(const std::vector<double>& values) {
  return {values.begin(), values.end()};
}

template <class Value>
std::string formatted(Value value, int precision, std::ios_base& (*style)(std::ios_base&)) {
  std::ostringstream out;
  out << style << std::setprecision(precision) << value;
  return out.str();
}

}  // namespace

// A pure function of the configuration and the step, so that a resumed run logs the steps of an unbroken one.
bool Trainer::row_due() const {
  const std::int64_t step = step_ + 1;
  return step == 1 || step == spec_.run.steps || step % spec_.run.log_every == 0;
}

std::string Trainer::samples_sha(const GlobalBatch& batch) {
  std::string ids;
  for (const auto& micro_batch : batch.micro_batches)
    for (const auto& sample : micro_batch.samples)
      ids += text_of(sample.source, ":", sample.epoch, ":", sample.window, " ");
  std::string all;
  for (const auto& part : groups_.dp().all_gather_bytes(ids)) all += part;
  return sha256_hex(all).substr(0, 16);
}

/// nan on a CPU, whose peak nobody states.
double Trainer::model_flops_utilisation(double tokens_per_second) const {
  const double peak = world_.device().is_cpu() ? 0 : plan::peak_flops(spec_.cluster.gpu, spec_.parallel.dtype);
  if (peak == 0) return NAN;
  return plan::flops_per_token(inputs_.model_config, spec_.data.sequence_length) * tokens_per_second /
         (peak * groups_.world().size());
}

void Trainer::write_row(const GlobalBatch& batch, const StepTotals& totals, double grad_norm, Verdict verdict) {
  ++steps_since_row_;
  if (!row_due() && verdict == Verdict::finite) return;
  const double step_time_s = since_row_.restart() / static_cast<double>(steps_since_row_);
  steps_since_row_ = 0;
  time_limit_.note_step(step_time_s);

  const std::int64_t step = step_ + 1;
  const double tokens_per_step = static_cast<double>(spec_.data.global_batch * spec_.data.sequence_length);
  const double tokens_per_second = tokens_per_step / step_time_s;
  const auto& sources = inputs_.mixture->sources();
  const auto ledger = inputs_.mixture->ledger_before(step);

  nlohmann::ordered_json row = {{"schema_version", kMetricsSchemaVersion},
                                {"step", step},
                                {"tokens", step * spec_.data.global_batch * spec_.data.sequence_length}};
  row["loss"] = totals.loss();
  for (std::size_t source = 0; source < sources.size(); ++source) {
    if (totals.tokens_S[source] > 0)
      row["loss/" + sources[source].name()] = totals.loss_S[source] / totals.tokens_S[source];
    row["tokens/" + sources[source].name()] = ledger[source] * spec_.data.sequence_length;
  }
  if (spec_.stage == Stage::finetune) row["supervised_tokens"] = batch.num_supervised;
  row["grad_norm"] = grad_norm;
  row["learning_rate"] = learning_rate();
  row["skipped"] = skipped_;
  row["samples_sha"] = samples_sha(batch);
  if (!totals.load_LE.empty()) {
    if (spec_.router.aux_loss != config::AuxLoss::off)
      row["router/aux_loss"] = totals.aux_loss / static_cast<double>(batch.num_micro_batches);
    if (spec_.router.z_coefficient > 0)
      row["router/z_loss"] = totals.z_loss / static_cast<double>(batch.num_micro_batches);
    for (const auto& load_E : totals.load_LE) {
      row["router/load_max_over_mean"].push_back(max_over_mean(load_E));
      row["router/load"].push_back(whole_numbers(load_E));
    }
    for (std::size_t source = 0; source < sources.size(); ++source)
      row["router/load/" + sources[source].name()] = whole_numbers(totals.load_SE[source]);
  }
  row["tokens_per_second"] = tokens_per_second;
  const double mfu = model_flops_utilisation(tokens_per_second);
  row["mfu"] = mfu;  // null where it is nan
  const std::int64_t memory = groups_.world().all_reduce_value(peak_memory_bytes(world_.device()), comm::ReduceOp::max);
  row["memory_bytes"] = memory;
  row["step_time_s"] = step_time_s;
  if (owner_) owner_->require_ours();
  metrics_->append(row);

  log::info("step ", step, "/", spec_.run.steps, "  loss ", formatted(totals.loss(), 4, std::fixed), "  lr ",
            formatted(learning_rate(), 2, std::scientific), "  grad ", formatted(grad_norm, 3, std::fixed), "  ",
            formatted(tokens_per_second, 0, std::fixed), " tok/s",
            std::isfinite(mfu) ? "  mfu " + formatted(mfu, 3, std::fixed) : "", "  mem ",
            formatted(static_cast<double>(memory) / (1 << 30), 2, std::fixed), " GiB  ",
            formatted(step_time_s, 3, std::fixed), " s/step  eta ",
            duration_text(step_time_s * static_cast<double>(last_step() - step)));
}

}  // namespace osler::train
