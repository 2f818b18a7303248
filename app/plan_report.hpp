// The text that osler plan prints.
#pragma once

#include <string>
#include <vector>

#include "config/options.hpp"
#include "plan/forecast.hpp"
#include "plan/search.hpp"

namespace osler::app {

struct PlanSpec {
  plan::ForecastInput input;
  config::PlanOptions plan;
  config::StudyOptions study;
  config::ModelOptions model;
  config::OptimOptions optim;
  config::CheckpointOptions checkpoint;
};

/// Model, layout, shards, memory, traffic, work, time, and the smallest layouts that fit.
std::string plan_report(const PlanSpec& spec, const plan::Mesh& mesh, const plan::Forecast& forecast);
/// Model, and the layouts of plan.world_size that fit, fastest first.
std::string search_report(const PlanSpec& spec);

}  // namespace osler::app
