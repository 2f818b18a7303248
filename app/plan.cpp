// osler plan: what a configuration needs on a given number of ranks, from its config.json alone; nothing is run.
#include <filesystem>
#include <iostream>

#include "base/publish.hpp"
#include "checkpoint/weights.hpp"
#include "config/parser.hpp"
#include "plan/forecast.hpp"
#include "plan_report.hpp"
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

}  // namespace

ExitCode plan(const Arguments& arguments) {
  PlanSpec spec;
  config::Parser parser("plan", "Layout, memory, traffic, time and checkpoints of a training run, without running it.");
  parser.add(spec.plan);
  parser.add(spec.input.run);
  parser.add(spec.model);
  parser.add(spec.input.data);
  parser.add(spec.input.parallel);
  parser.add(spec.optim);
  parser.add(spec.input.router);
  parser.add(spec.checkpoint);
  parser.add(spec.input.cluster);
  const config::Action action = parser.parse(arguments);
  if (action == config::Action::help || action == config::Action::print_config) {
    std::cout << (action == config::Action::help ? parser.help() : parser.print_config());
    return ExitCode::done;
  }
  spec.input.model = read_model(spec.model, spec.plan);
  spec.input.imbalance = spec.plan.imbalance;
  if (spec.plan.search) {
    std::cout << search_report(spec);
    return ExitCode::done;
  }
  const plan::Mesh mesh =
      plan::build_mesh(spec.plan.world_size, spec.input.model, spec.input.parallel, spec.input.data);
  std::cout << plan_report(spec, mesh, plan::compute_forecast(spec.input, mesh));
  return ExitCode::done;
}

}  // namespace osler::app
