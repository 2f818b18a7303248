#include "study_report.hpp"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <optional>
#include <sstream>

#include "base/clock.hpp"
#include "base/text_of.hpp"
#include "text_table.hpp"

namespace osler::app {
namespace {

std::string fixed(double value, int digits) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(digits) << value;
  return out.str();
}

/// Seconds of so many steps with their saves; nothing where the device's peak is not known.
std::optional<double> seconds_of(const StageSpec& stage, std::int64_t steps) {
  if (stage.forecast.step.total_s() == 0) return std::nullopt;
  const double saves =
      std::floor(static_cast<double>(steps) / static_cast<double>(stage.spec.checkpoint.interval_steps)) + 1;
  return stage.forecast.step.total_s() * static_cast<double>(steps) + stage.forecast.save_s * saves;
}

std::string stage_line(const std::string& file, const StageSpec& stage) {
  const auto& data = stage.spec.input.data;
  return text_of("  ", file, ": ", stage.spec.input.run.steps, " steps of ", data.global_batch, " x ",
                 data.sequence_length, " tokens; ", fixed(stage.forecast.memory_bytes / (1 << 30), 1), " GiB a rank",
                 stage.forecast.device_bytes == 0 ? ""
                 : stage.forecast.fits()          ? ", fits"
                                                  : ", DOES NOT FIT",
                 "\n");
}

}  // namespace

std::string study_report(const config::StudyOptions& study, const StageSpec& pretrain, const StageSpec* finetune,
                         const std::vector<plan::StudyPiece>& pieces) {
  const auto world = static_cast<double>(pretrain.spec.plan.world_size);
  std::string text = "stages on " + std::to_string(pretrain.spec.plan.world_size) + " x " +
                     pretrain.spec.input.cluster.gpu + "\n" + stage_line(study.pretrain, pretrain);
  if (finetune != nullptr) text += stage_line(study.finetune, *finetune);

  TextTable table({"piece", "steps", "time", "device hours"});
  double total_s = 0;
  std::int64_t num_evaluations = 0, num_checkpoints = 0;
  bool all_known = true;
  for (const plan::StudyPiece& piece : pieces) {
    if (piece.verb == "evaluate") {
      ++num_evaluations;
      continue;
    }
    const StageSpec& stage = piece.verb == "pretrain" ? pretrain : *finetune;
    const std::int64_t steps = piece.verb == "pretrain" ? piece.steps : stage.spec.input.run.steps;
    num_checkpoints += piece.verb == "pretrain" ? 1 : stage.spec.checkpoint.keep;
    const auto seconds = steps > 0 ? seconds_of(stage, steps) : std::nullopt;
    all_known = all_known && seconds;
    total_s += seconds.value_or(0);
    table.add({piece.name, steps > 0 ? std::to_string(steps) : "?", seconds ? duration_text(*seconds) : "?",
               seconds ? fixed(*seconds / 3600 * world, 1) : "?"});
  }
  table.add({all_known ? "training, all" : "training, what is known", "", duration_text(total_s),
             fixed(total_s / 3600 * world, 1)});
  text += "\n";
  text += table.text();
  text += text_of("\n", num_evaluations, " evaluations, ", study.evaluate.size(),
                  " of each model, come on top: their time depends on the answers\n", num_checkpoints,
                  " checkpoints stay, ",
                  bytes_text(static_cast<std::uint64_t>(num_checkpoints * pretrain.forecast.checkpoint_bytes)), "\n");
  return text;
}

}  // namespace osler::app
