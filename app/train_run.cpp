#include "train_run.hpp"

#include <cmath>
#include <iostream>

#include "base/log.hpp"
#include "base/publish.hpp"
#include "plan/forecast.hpp"
#include "train/inputs.hpp"
#include "train/run_directory.hpp"
#include "train/start_checks.hpp"
#include "train/stop.hpp"
#include "train/trainer.hpp"

namespace osler::app {

namespace {

void print_once(comm::World& world, const std::string& text) {
  if (world.host().rank() == 0) std::cout << text << std::flush;
}

std::string gibibytes(double num_bytes) {
  return text_of(std::round(num_bytes / (1 << 20)) / 1024, " GiB");
}

bool is_done(comm::World& world, const train::RunDirectory& directory) {
  const std::int64_t seen_here = world.host().rank() == 0 && directory.is_done() ? 1 : 0;
  return world.host().all_reduce_value(seen_here, comm::ReduceOp::max) > 0;
}

std::string packing_text(const data::PackingReport& packing) {
  std::string text =
      text_of(packing.num_packed, " conversations, windows ", std::round(packing.fill * 1000) / 10, " % full");
  if (packing.num_cut > 0) text += text_of(", ", packing.num_cut, " cut");
  if (packing.num_dropped > 0) text += text_of(", ", packing.num_dropped, " left out as too long");
  if (packing.num_unanswered > 0) text += text_of(", ", packing.num_unanswered, " left out without an answer");
  return text;
}

/// What --dry-run prints: `osler plan` says more of memory and time.
std::string summary(const train::RunSpec& spec, const train::Inputs& inputs) {
  const auto forecast = plan::compute_forecast({.model = inputs.model_config,
                                                .run = spec.run,
                                                .data = spec.data,
                                                .parallel = spec.parallel,
                                                .cluster = spec.cluster},
                                               inputs.mesh);
  std::string text = text_of(
      "parameters  ", forecast.parameters.total, " (", forecast.parameters.active, " active)\n", "ranks  ",
      inputs.mesh.world, ", dp ", inputs.mesh.dp, ", ", inputs.mesh.accumulation_steps, " micro-batches a step\n",
      "batch  ", spec.data.global_batch, " sequences, ", forecast.tokens_per_step, " tokens a step\n", "steps  ",
      spec.run.steps, ", ", forecast.run_tokens, " tokens\n", "memory  ", gibibytes(forecast.memory_bytes), " a rank\n",
      "checkpoint  ", gibibytes(static_cast<double>(forecast.checkpoint_bytes)), ", ", spec.checkpoint.keep, " kept, ",
      gibibytes(static_cast<double>(free_bytes(spec.run.dir))), " free\n");
  const auto sequences = inputs.mixture->ledger_before(spec.run.steps);
  const auto& sources = inputs.mixture->sources();
  for (std::size_t i = 0; i < sources.size(); ++i)
    text += text_of("source  ", sources[i].name(), ": ", sources[i].num_tokens(), " tokens, ",
                    static_cast<double>(sequences[i]) / static_cast<double>(sources[i].num_windows()), " epochs",
                    sources[i].packing() ? ", " + packing_text(*sources[i].packing()) : "", "\n");
  for (const auto& set : inputs.validation) text += "validation  " + set.name + "\n";
  return text;
}

/// Steps of the epochs asked for, and what became of the conversations.
void prepare_finetuning(train::RunSpec& spec, const train::Inputs& inputs) {
  if (spec.run.steps == 0) spec.run.steps = inputs.mixture->steps_of_epochs(spec.data.epochs);
  for (const auto& source : inputs.mixture->sources())
    log::info("source ", source.name(), ": ", packing_text(*source.packing()), ", data.sequence_length ",
              spec.data.sequence_length);
}

void add_sections(config::Parser& parser, train::RunSpec& spec) {
  parser.add(spec.run);
  parser.add(spec.model);
  parser.add(spec.data);
  parser.add(spec.parallel);
  parser.add(spec.optim);
  parser.add(spec.router);
  if (spec.stage == train::Stage::finetune) parser.add(spec.neftune);
  parser.add(spec.checkpoint);
  parser.add(spec.files);
  parser.add(spec.cluster);
}

}  // namespace

ExitCode run_training(config::Parser& parser, train::RunSpec spec, comm::World& world, const Arguments& arguments) {
  add_sections(parser, spec);

  config::Action action{};
  comm::agree_after(world.host(), [&] { action = parser.parse(arguments); });
  if (action == config::Action::help) return print_once(world, parser.help()), ExitCode::done;
  if (action == config::Action::print_config) return print_once(world, parser.print_config()), ExitCode::done;
  spec.resolved_ini = parser.resolved_ini();
  spec.program_version = version_text();
  set_file_privacy(spec.files.privacy);
  world.set_threads(spec.run.threads);
  world.watch_peers(spec.run.peer_timeout_s);

  const train::RunDirectory directory(spec.run.dir);
  if (is_done(world, directory)) {
    log::info(directory.path(), " is done already (", directory.done(), "); nothing to do");
    return ExitCode::done;
  }
  const train::StopSignals signals;
  train::Inputs inputs = train::open_inputs(spec, world);
  if (spec.stage == train::Stage::finetune) prepare_finetuning(spec, inputs);
  train::check_space(spec, inputs, world);
  if (action == config::Action::dry_run) return print_once(world, summary(spec, inputs)), ExitCode::done;
  return train::Trainer(spec, std::move(inputs), world, signals).run();
}

}  // namespace osler::app
