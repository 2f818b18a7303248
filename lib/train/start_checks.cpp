#include "train/start_checks.hpp"

#include <algorithm>
#include <filesystem>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/output_place.hpp"
#include "base/publish.hpp"
#include "checkpoint/directory.hpp"
#include "plan/forecast.hpp"
#include "train/run_directory.hpp"

namespace osler::train {

namespace {

constexpr double kSpareSpace = 1.1;  // as a save asks for: file headers, index, tokenizer

/// Checkpoints that will still be added to those on disk before the run ends, at the fullest moment: one more than
/// stay.
std::int64_t checkpoints_to_come(const RunSpec& spec, const std::vector<std::int64_t>& existing) {
  const std::int64_t newest = existing.empty() ? 0 : existing.front();
  const std::int64_t steps_left = std::max<std::int64_t>(0, spec.run.steps - newest);
  const std::int64_t every = spec.checkpoint.interval_steps;
  std::int64_t saves_left = every > 0 ? (steps_left + every - 1) / every : steps_left > 0 ? 1 : 0;
  std::int64_t kept_forever = 0;
  for (const std::int64_t step : spec.checkpoint.keep_step) kept_forever += step <= spec.run.steps ? 1 : 0;
  saves_left += kept_forever;
  if (spec.checkpoint.keep == 0) return saves_left;
  const std::int64_t on_disk = spec.checkpoint.keep + 1 + kept_forever;
  const std::int64_t missing = on_disk - static_cast<std::int64_t>(existing.size());
  return std::min(saves_left, std::max<std::int64_t>(1, missing));
}

}  // namespace

void check_outputs(const RunSpec& spec, comm::World& world) {
  comm::agree_after(world.host(), [&] {
    if (world.local_rank() != 0) return;
    const std::string tried = require_writable_place("run.dir", spec.run.dir);
    const std::string parent = folder_of(RunDirectory(spec.run.dir).path());
    if (!std::filesystem::exists(parent))
      log::info("run.dir = ", spec.run.dir, ": '", parent, "' will be made, below '", tried, "'");
    if (!spec.run.trace.empty()) require_writable_place("run.trace", folder_of(spec.run.trace));
  });
}

void check_space(const RunSpec& spec, const Inputs& inputs, comm::World& world) {
  comm::agree_after(world.host(), [&] {
    if (world.host().rank() != 0) return;
    const std::string root = RunDirectory(spec.run.dir).checkpoints();
    const std::int64_t to_come = checkpoints_to_come(spec, checkpoint::list_checkpoints(root).steps);
    if (to_come == 0) return;
    const auto forecast = plan::compute_forecast({.model = inputs.model_config,
                                                  .run = spec.run,
                                                  .data = spec.data,
                                                  .parallel = spec.parallel,
                                                  .cluster = spec.cluster},
                                                 inputs.mesh);
    const double one = kSpareSpace * static_cast<double>(forecast.checkpoint_bytes);
    const auto available = static_cast<double>(free_bytes(root));
    const auto whole = [](double bytes) { return static_cast<std::uint64_t>(bytes); };
    const std::string need = text_of("run.dir = ", spec.run.dir, ": a checkpoint takes ", whole(one), " bytes, ",
                                     to_come, " more will lie there at a time, ", whole(available), " bytes are free");
    if (available < one && spec.files.check_space)
      throw StorageError("not enough space for a checkpoint in '", root, "': ", need,
                         "; free space, choose another run.dir, or start all the same with files.check_space=off");
    if (available < one * static_cast<double>(to_come))
      log::warning(need, "; free ", whole(one * static_cast<double>(to_come) - available),
                   " more before they are needed, or lower checkpoint.keep");
  });
}

std::unique_ptr<FolderOwner> claim_run_directory(const RunSpec& spec, comm::World& world) {
  std::unique_ptr<FolderOwner> owner;
  comm::agree_after(world.host(), [&] {
    if (world.host().rank() != 0) return;
    owner = std::make_unique<FolderOwner>("run.dir", RunDirectory(spec.run.dir).path(), spec.files.owner_silence_s);
  });
  return owner;
}

}  // namespace osler::train
