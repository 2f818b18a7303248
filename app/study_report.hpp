// What osler plan prints of a study: its pieces, their device hours and what they leave on disk.
#pragma once

#include <string>
#include <vector>

#include "plan/study.hpp"
#include "plan_report.hpp"

namespace osler::app {

/// A stage of training as its config file describes it, on plan.world_size ranks.
struct StageSpec {
  PlanSpec spec;
  plan::Forecast forecast;
};

/// finetune: null if the study has none.
std::string study_report(const config::StudyOptions& study, const StageSpec& pretrain, const StageSpec* finetune,
                         const std::vector<plan::StudyPiece>& pieces);

}  // namespace osler::app
