#include "train/trainer.hpp"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "base/log.hpp"
#include "base/trace.hpp"
#include "comm/torch_dtype.hpp"
#include "plan/parameter_specs.hpp"

namespace osler::train {

namespace {

// A disk that is full for a moment must not end a run; one that refuses three saves in a row will not get better by
// itself, and every further step would be lost.
constexpr int kMostFailedSavesInARow = 3;

/// "8 ranks", "8 ranks: dp 4 x tp 2, edp 2 x ep 4"
std::string layout_text(const plan::Mesh& mesh) {
  std::string text = text_of(mesh.world, mesh.world == 1 ? " rank" : " ranks");
  if (mesh.tp > 1 || mesh.ep > 1) text += text_of(": dp ", mesh.dp, " x tp ", mesh.tp);
  if (mesh.ep > 1) text += text_of(", edp ", mesh.edp, " x ep ", mesh.ep);
  return text;
}

at::TensorOptions tensor_options(const RunSpec& spec, c10::Device device) {
  return at::TensorOptions(device).dtype(comm::scalar_type_of(dtype_from_name(config::name_of(spec.parallel.dtype))));
}

}  // namespace

Trainer::Trainer(const RunSpec& spec, Inputs inputs, comm::World& world, const StopSignals& signals)
    : spec_(spec),
      inputs_(std::move(inputs)),
      world_(world),
      groups_(world.ranks(), inputs_.mesh),
      directory_(spec.run.dir),
      owner_(claim_run_directory(spec, world)),
      parameters_(plan::parameter_specs_of_rank(inputs_.model_config, inputs_.mesh, groups_.world().rank()),
                  tensor_options(spec, world.device()), plan::sharers_of(inputs_.mesh)),
      stats_({.num_sources = static_cast<std::int64_t>(inputs_.mixture->sources().size()),
              .num_layers = inputs_.model_config.num_layers,
              .num_experts = inputs_.model_config.num_experts},
             groups_, world.device()),
      signals_(signals),
      time_limit_(spec.run.max_hours) {
  parameters_.allocate_grad();
  model_ = std::make_unique<model::Model>(inputs_.model_config, parameters_, spec_.parallel.recompute, groups_);
  start_or_resume();
}

Trainer::~Trainer() = default;

void Trainer::start_or_resume() {
  const auto newest = checkpoint::find_newest(world_.host(), directory_.checkpoints());
  if (!newest && inputs_.weights) verify_weights();
  comm::agree_after(world_.host(), [&] {
    if (newest) {
      const checkpoint::Reader reader(*newest);
      const Start start{
          .state = run_state(),
          .router_losses = router_losses(),
          .changed_data = spec_.run.accept_changed_data ? ChangedData::accepted : ChangedData::refused,
          .tokenizer_difference = tokenizer_difference(reader.tokenizer_files(), inputs_.tokenizer_files)};
      const std::vector<std::string> accepted = require_same_run(reader.state(), start, *newest);
      restore(reader.state());
      if (!accepted.empty()) accept_changed_data(accepted);
      optimizer_ = std::make_unique<optim::AdamW>(parameters_, groups_, spec_.optim);
      reader.load(optimizer_->state());
      for (const auto& line : differences(reader.state().run_config, spec_.resolved_ini))
        log::info("changed since ", *newest, ": ", line);
    } else {
      if (inputs_.weights) {
        inputs_.weights->load(parallel::tensors_of(parameters_, "model/"));
        before_ = inputs_.weights->provenance();
      } else {
        model::initialize(parameters_, inputs_.model_config, spec_.run.seed);
      }
      optimizer_ = std::make_unique<optim::AdamW>(parameters_, groups_, spec_.optim);
    }
  });
  if (newest) optimizer_->publish_weights();
  log::info(newest            ? "resumed from " + *newest
            : inputs_.weights ? "weights from " + inputs_.weights->directory()
                              : "random initialisation, seed " + text_of(spec_.run.seed),
            ", ", plan::count_parameters(inputs_.model_config).total, " parameters, ", layout_text(inputs_.mesh));

  const auto hosts = world_.host().all_gather_bytes(host_name());
  const MetricsRole role = world_.host().rank() == 0 ? MetricsRole::writer : MetricsRole::silent;
  comm::agree_after(world_.host(), [&] {
    if (role == MetricsRole::writer)
      directory_.describe(spec_.resolved_ini, run_description(spec_.program_version, hosts, inputs_.mesh, step_));
    metrics_ = std::make_unique<MetricsFile>(directory_.metrics(), newest ? step_ : -1, role);
  });
}

void Trainer::accept_changed_data(const std::vector<std::string>& differences) {
  ++data_changes_;
  data_changed_at_step_ = step_;
  if (world_.host().rank() != 0) return;
  for (const std::string& line : differences)
    log::warning("from step ", step_ + 1, " on other data, as run.accept_changed_data says: ", line);
}

double Trainer::aux_coefficient() const {
  if (!inputs_.model_config.is_mixture || spec_.router.aux_loss == config::AuxLoss::off) return 0;
  return spec_.router.aux_coefficient < 0 ? inputs_.model_config.router_aux_coefficient : spec_.router.aux_coefficient;
}

RouterLosses Trainer::router_losses() const {
  const bool has_z = inputs_.model_config.is_mixture && spec_.router.z_coefficient > 0;
  return has_z || aux_coefficient() > 0 ? RouterLosses::on : RouterLosses::off;
}

void Trainer::verify_weights() {
  const std::string& directory = inputs_.weights->directory();
  const std::int64_t is_checkpoint = std::filesystem::exists(directory + "/manifest.json") ? 1 : 0;
  if (world_.host().all_reduce_value(is_checkpoint, comm::ReduceOp::max) > 0)
    checkpoint::verify(world_.host(), directory);
}

ExitCode Trainer::run() {
  if (!spec_.run.trace.empty())
    comm::agree_after(world_.host(), [&] { trace::start(spec_.run.trace, groups_.world().rank()); });
  State state = is_over() ? State::leaving : validation_due() && step_ == 0 ? State::validating : State::stepping;
  while (state != State::leaving) {
    switch (state) {
      case State::stepping:
        state = take_step();
        break;
      case State::validating:
        state = validate();
        break;
      case State::saving:
        state = save();
        break;
      case State::leaving:
        break;
    }
  }
  trace::stop();
  return leave();
}

std::int64_t Trainer::last_step() const {
  return spec_.run.stop_at_step > 0 ? std::min(spec_.run.stop_at_step, spec_.run.steps) : spec_.run.steps;
}

bool Trainer::is_over() const {
  return step_ >= last_step() || wishes_.any();
}

// Before the first step, after the last, and every validate_every steps between.
bool Trainer::validation_due() const {
  if (inputs_.validation.empty()) return false;
  const std::int64_t every = spec_.data.validate_every;
  return step_ == 0 || step_ == spec_.run.steps || (every > 0 && step_ % every == 0);
}

bool Trainer::save_due() const {
  const std::int64_t every = spec_.checkpoint.interval_steps;
  return is_over() || (step_ > 0 && every > 0 && step_ % every == 0) || keeps(step_);
}

bool Trainer::keeps(std::int64_t step) const {
  const auto& steps = spec_.checkpoint.keep_step;
  return std::find(steps.begin(), steps.end(), step) != steps.end();
}

Trainer::State Trainer::state_after_validation() const {
  return save_due() ? State::saving : State::stepping;
}

Trainer::State Trainer::save() {
  const Stopwatch watch;
  try {
    comm::agree_after(world_.host(), [&] {
      if (owner_) owner_->require_ours();
      metrics_->sync();
    });
    const std::string path = checkpoint::save(world_.host(), {.root = directory_.checkpoints(),
                                                              .tensors = optimizer_->state(),
                                                              .state = run_state(),
                                                              .tokenizer_files = inputs_.tokenizer_files,
                                                              .keep = spec_.checkpoint.keep,
                                                              .keep_steps = spec_.checkpoint.keep_step});
    failed_saves_in_a_row_ = 0;
    log::info("saved ", path, " in ", duration_text(watch.elapsed_s()));
  } catch (const StorageError& error) {  // the same on every rank
    if (is_over() || ++failed_saves_in_a_row_ >= kMostFailedSavesInARow) throw;
    if (world_.host().rank() == 0)
      log::warning("save at step ", step_, " failed and is tried again at the next: ", error.what());
  }
  time_limit_.note_save(watch.elapsed_s());
  since_row_.restart();
  steps_since_row_ = 0;
  return is_over() ? State::leaving : State::stepping;
}

ExitCode Trainer::leave() {
  if (step_ >= spec_.run.steps) {
    comm::agree_after(world_.host(), [&] {
      if (world_.host().rank() == 0) directory_.mark_done(step_);
    });
    log::info("done: ", step_, " steps, ", run_state().tokens, " tokens, ", directory_.path());
    return ExitCode::done;
  }
  if (step_ >= last_step()) {
    log::info("stopped at step ", step_, " as run.stop_at_step asks; the run has ", spec_.run.steps, " steps");
    return ExitCode::done;
  }
  log::info("stopped at step ", step_, wishes_.signals > 0 ? " by a signal" : " by run.max_hours",
            "; saved, start again to go on");
  return ExitCode::requeue;
}

checkpoint::RunState Trainer::run_state() const {
  checkpoint::RunState state;
  state.step = step_;
  state.samples = step_ * spec_.data.global_batch;
  state.tokens = state.samples * spec_.data.sequence_length;
  state.seed = spec_.run.seed;
  const auto& sources = inputs_.mixture->sources();
  const auto sequences = inputs_.mixture->ledger_before(step_);
  for (std::size_t i = 0; i < sources.size(); ++i)
    state.ledger[sources[i].name()] = {.tokens = sequences[i] * spec_.data.sequence_length,
                                       .sequences = sequences[i],
                                       .epoch = sequences[i] / sources[i].num_windows()};
  state.counters = {{"skipped", skipped_}, {"skipped_in_a_row", skipped_in_a_row_}};
  if (data_changes_ > 0)
    state.counters.insert({{"data_changes", data_changes_}, {"data_changed_at_step", data_changed_at_step_}});
  state.model_config = inputs_.model_config_text;
  state.run_config = spec_.resolved_ini;
  state.data_fingerprint = inputs_.mixture->fingerprint();
  state.dtype = config::name_of(spec_.parallel.dtype);
  state.provenance = before_;
  if (spec_.stage == Stage::pretrain) {
    state.provenance.pretraining_tokens += state.tokens;
  } else {
    state.provenance.fine_tuning_tokens += state.tokens;
    state.provenance.neftune_alpha = spec_.neftune.alpha;
  }
  return state;
}

void Trainer::restore(const checkpoint::RunState& state) {
  const auto counter = [&](const char* name) {
    const auto entry = state.counters.find(name);
    return entry == state.counters.end() ? std::int64_t{0} : entry->second;
  };
  // Not asked of model.from again: a run that it names may have gone on since.
  before_ = state.provenance;
  (spec_.stage == Stage::pretrain ? before_.pretraining_tokens : before_.fine_tuning_tokens) -= state.tokens;
  step_ = state.step;
  skipped_ = counter("skipped");
  skipped_in_a_row_ = counter("skipped_in_a_row");
  data_changes_ = counter("data_changes");
  data_changed_at_step_ = counter("data_changed_at_step");
}

}  // namespace osler::train
