// The one list of every option: options.cpp. Local to config.
#pragma once

#include <vector>

#include "config/field.hpp"

namespace osler::config {

/// The fields of one section, bound to `options`, which outlives them.
std::vector<Field> fields_of(TokenizeOptions& options);
std::vector<Field> fields_of(ConvertOptions& options);
std::vector<Field> fields_of(RunOptions& options);
std::vector<Field> fields_of(ModelOptions& options);
std::vector<Field> fields_of(DataOptions& options);
std::vector<Field> fields_of(ParallelOptions& options);
std::vector<Field> fields_of(OptimOptions& options);
std::vector<Field> fields_of(RouterOptions& options);
std::vector<Field> fields_of(NeftuneOptions& options);
std::vector<Field> fields_of(CheckpointOptions& options);
std::vector<Field> fields_of(EvalOptions& options);
std::vector<Field> fields_of(FilesOptions& options);
std::vector<Field> fields_of(ClusterOptions& options);
std::vector<Field> fields_of(PlanOptions& options);
std::vector<Field> fields_of(StudyOptions& options);

/// One of each, for the names and bounds of sections that a verb does not use.
struct EveryOption {
  TokenizeOptions tokenize;
  ConvertOptions convert;
  RunOptions run;
  ModelOptions model;
  DataOptions data;
  ParallelOptions parallel;
  OptimOptions optim;
  RouterOptions router;
  NeftuneOptions neftune;
  CheckpointOptions checkpoint;
  EvalOptions eval;
  FilesOptions files;
  ClusterOptions cluster;
  PlanOptions plan;
  StudyOptions study;
  std::vector<Field> fields();
};

/// The section that belongs to a verb by name ("eval" for evaluate); it may be empty of fields.
std::string section_of_verb(const std::string& verb);

}  // namespace osler::config
