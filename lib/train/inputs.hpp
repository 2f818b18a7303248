// Everything a training run reads, opened and checked before anything large is allocated: what --dry-run does.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/weights.hpp"
#include "comm/world.hpp"
#include "config/model_config.hpp"
#include "config/options.hpp"
#include "data/mixture.hpp"
#include "plan/mesh.hpp"

namespace osler::train {

/// pretrain: every token of running text. finetune: the answers of conversations.
enum class Stage { pretrain, finetune };

/// What was asked for.
struct RunSpec {
  Stage stage = Stage::pretrain;
  config::RunOptions run;
  config::ModelOptions model;
  config::DataOptions data;
  config::ParallelOptions parallel;
  config::OptimOptions optim;
  config::RouterOptions router;
  config::NeftuneOptions neftune;
  config::CheckpointOptions checkpoint;
  config::FilesOptions files;
  config::ClusterOptions cluster;
  std::string resolved_ini;
  std::string program_version;
};

struct ValidationSet {
  std::string name;
  std::vector<data::Batch> batches;  ///< this rank's share
};

struct Inputs {
  std::string model_config_text;
  config::ModelConfig model_config;
  plan::Mesh mesh;
  std::optional<checkpoint::Weights> weights;  ///< nullopt: random initialisation
  std::vector<std::string> tokenizer_files;    ///< copied into every checkpoint
  std::shared_ptr<const data::Mixture> mixture;
  std::vector<ValidationSet> validation;
};

/// Opens and cross-checks data, model configuration, weights and tokenizer. Leaves nothing behind. Throws ConfigError,
/// DataError, CheckpointError or StorageError, the same on every rank. *Collective.*
Inputs open_inputs(const RunSpec& spec, comm::World& world);

}  // namespace osler::train
