// osler plan: what a configuration needs on a given number of ranks, from its config.json alone; nothing is run.
#include <filesystem>
#include <iostream>
#include <optional>

#include "base/error.hpp"
#include "base/publish.hpp"
#include "checkpoint/weights.hpp"
#include "config/parser.hpp"
#include "plan/forecast.hpp"
#include "plan_report.hpp"
#include "study_report.hpp"
#include "verbs.hpp"

namespace osler::app {
namespace {

config::ModelConfig read_config_file(const std::string& path) {
  constexpr std::uint64_t kMostConfigBytes = 1 << 20;
  return config::parse_model_config(read_file(path, kMostConfigBytes), path);
}

config::ModelConfig read_model(const config::ModelOptions& model, const config::PlanOptions& plan) {
  if (model.from.empty()) return read_config_file(model.config);
  std::error_code error;
  const std::string beside = model.from + "/config.json";  // enough for a plan, even without the weights
  if (std::filesystem::exists(beside, error)) return read_config_file(beside);
  if (!std::filesystem::exists(model.from, error) && !plan.model_config.empty())
    return read_config_file(plan.model_config);
  const checkpoint::Weights weights(model.from, checkpoint::Verify::sizes);
  return config::parse_model_config(weights.model_config(), weights.directory());
}

void bind(config::Parser& parser, PlanSpec& spec) {
  parser.add(spec.plan);
  parser.add(spec.study);
  parser.add(spec.input.run);
  parser.add(spec.model);
  parser.add(spec.input.data);
  parser.add(spec.input.parallel);
  parser.add(spec.optim);
  parser.add(spec.input.router);
  parser.add(spec.checkpoint);
  parser.add(spec.input.cluster);
}

constexpr const char* kSummary =
    "Layout, memory, traffic, time and checkpoints of a training run or a study, without running it.";

plan::Mesh mesh_of(const PlanSpec& spec) {
  return plan::build_mesh(spec.plan.world_size, spec.input.model, spec.input.parallel, spec.input.data);
}

/// One stage of a study: its own config file under what was given for the study.
PlanSpec read_stage(const std::string& file, const Arguments& arguments) {
  PlanSpec stage;
  config::Parser parser("plan", kSummary);
  bind(parser, stage);
  Arguments with_file{"--config=" + file};
  with_file.insert(with_file.end(), arguments.begin(), arguments.end());
  parser.parse(with_file);
  return stage;
}

StageSpec forecast_stage(PlanSpec spec) {
  spec.input.model = read_model(spec.model, spec.plan);
  spec.input.imbalance = spec.plan.imbalance;
  return {spec, plan::compute_forecast(spec.input, mesh_of(spec))};
}

void plan_study(const PlanSpec& spec, const Arguments& arguments) {
  const config::StudyOptions& study = spec.study;
  const PlanSpec pretrain = read_stage(study.pretrain, arguments);
  if (pretrain.model.from.empty() && pretrain.model.config.empty())
    throw ConfigError(study.pretrain, ": model.from is needed, or model.config for random initialisation");
  const auto pieces = plan::study_pieces(
      study, {.tokens_per_step = pretrain.input.data.global_batch * pretrain.input.data.sequence_length,
              .steps = pretrain.input.run.steps,
              .from = pretrain.model.from});
  std::optional<PlanSpec> finetune;
  if (!study.finetune.empty()) {
    finetune = read_stage(study.finetune, arguments);
    finetune->model = pretrain.model;  // the study gives model.from: an equal model
  }
  if (spec.plan.pieces) {
    std::cout << plan::pieces_text(pieces);
    return;
  }
  std::optional<StageSpec> tuning;
  if (finetune) tuning = forecast_stage(*finetune);
  std::cout << study_report(study, forecast_stage(pretrain), tuning ? &*tuning : nullptr, pieces);
}

}  // namespace

ExitCode plan(const Arguments& arguments) {
  PlanSpec spec;
  config::Parser parser("plan", kSummary);
  bind(parser, spec);
  const config::Action action = parser.parse(arguments);
  if (action == config::Action::help || action == config::Action::print_config) {
    std::cout << (action == config::Action::help ? parser.help() : parser.print_config());
    return ExitCode::done;
  }
  if (!spec.study.pretrain.empty()) {
    plan_study(spec, arguments);
    return ExitCode::done;
  }
  spec.input.model = read_model(spec.model, spec.plan);
  spec.input.imbalance = spec.plan.imbalance;
  if (spec.plan.search) {
    std::cout << search_report(spec);
    return ExitCode::done;
  }
  const plan::Mesh mesh = mesh_of(spec);
  std::cout << plan_report(spec, mesh, plan::compute_forecast(spec.input, mesh));
  return ExitCode::done;
}

}  // namespace osler::app
