// A training run from its first to its last step, as explicit states: step, validate, save, leave. Every rank walks
// through the same states, because every decision is taken on numbers that were reduced over all ranks.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "checkpoint/checkpoint.hpp"
#include "comm/mesh_groups.hpp"
#include "comm/world.hpp"
#include "loss/cross_entropy.hpp"
#include "loss/router_loss.hpp"
#include "model/model.hpp"
#include "optim/adamw.hpp"
#include "parallel/parameter.hpp"
#include "train/device_batch.hpp"
#include "train/inputs.hpp"
#include "train/metrics.hpp"
#include "train/resume.hpp"
#include "train/run_directory.hpp"
#include "train/start_checks.hpp"
#include "train/step_stats.hpp"
#include "train/stop.hpp"

namespace osler::train {

class Trainer {
 public:
  /// Allocates the model, then resumes from the newest usable checkpoint under run.dir, or loads or initialises the
  /// weights. Throws ConfigError when that checkpoint belongs to another run, CheckpointError, DataError, StorageError:
  /// the same on every rank. *Collective.*
  /// `signals` are the caller's, because a wish to stop may come while the inputs are still being opened.
  Trainer(const RunSpec& spec, Inputs inputs, comm::World& world, const StopSignals& signals);
  ~Trainer();

  /// Runs to the end, to run.stop_at_step, or until somebody wants to stop. Returns done, or requeue when saved and
  /// asked to stop before the end. Throws NumericalError, StorageError. *Collective.*
  ExitCode run();

 private:
  enum class State { stepping, validating, saving, leaving };

  /// This rank's micro-batches of one global batch.
  struct GlobalBatch {
    std::vector<data::Batch> micro_batches;
    std::int64_t num_supervised = 0;     ///< over all ranks
    std::int64_t num_micro_batches = 0;  ///< over all ranks
  };
  struct ForwardPass {
    const data::Batch& batch;
    DeviceBatch rows;
    model::ModelOutput output;
  };
  enum class Verdict { finite, not_finite };
  /// Called as soon as every gradient of a layer's matrices is complete; the head is the layer behind the last.
  using OnLayerDone = std::function<void(std::int64_t layer)>;

  // The step (step.cpp)
  State take_step();
  GlobalBatch next_global_batch();
  /// `noise_RD`: added to the embeddings; undefined for none.
  ForwardPass forward(const data::Batch& batch, const at::Tensor& noise_RD, const OnLayerDone& on_layer_done = {});
  at::Tensor embedding_noise(const data::Batch& batch);
  loss::RouterLoss compute_router_loss(const ForwardPass& pass);
  at::Tensor compute_loss(const ForwardPass& pass, const GlobalBatch& global, const OnLayerDone& on_layer_done);
  void backward(const at::Tensor& objective);
  void reduce_gradients();
  Verdict check_finite(const StepTotals& totals, double grad_norm);
  double clip_scale(double grad_norm) const;
  void update_weights(double grad_scale);
  double learning_rate() const;
  StopWishes stop_wishes() const;
  std::string place_text() const;
  State finish_step(const StopWishes& wishes);

  // Reports (report.cpp)
  void write_row(const GlobalBatch& batch, const StepTotals& totals, double grad_norm, Verdict verdict);
  std::string samples_sha(const GlobalBatch& batch);
  bool row_due() const;
  double model_flops_utilisation(double tokens_per_second) const;

  // Other states (trainer.cpp, validate.cpp)
  State validate();
  State save();
  ExitCode leave();
  State state_after_validation() const;
  bool validation_due() const;
  bool save_due() const;
  bool keeps(std::int64_t step) const;  ///< its checkpoint for ever (checkpoint.keep_step)
  bool is_over() const;
  std::int64_t last_step() const;

  void start_or_resume();
  void accept_changed_data(const std::vector<std::string>& differences);
  void verify_weights();  ///< model.from, if it is a checkpoint: each rank sums a share of its files
  /// Throws one error on all ranks, for conditions that all of them see. *Collective.*
  template <class ErrorType, class... Args>
  void fail_together(const Args&... args) {
    comm::agree(world_.host(), std::make_exception_ptr(ErrorType(args...)));
  }
  double aux_coefficient() const;      ///< 0 when there is no such loss
  RouterLosses router_losses() const;  ///< whether any is part of the objective
  checkpoint::RunState run_state() const;
  void restore(const checkpoint::RunState& state);

  const RunSpec spec_;
  const Inputs inputs_;
  comm::World& world_;
  const comm::MeshGroups groups_;
  const RunDirectory directory_;
  const std::unique_ptr<FolderOwner> owner_;  ///< of rank 0
  const std::string host_ = host_name();
  parallel::ParameterStore parameters_;
  std::unique_ptr<model::Model> model_;
  std::unique_ptr<optim::AdamW> optimizer_;  ///< built once the weights are there: masters are copies of them
  /// Lets the reduction of a layer's gradients begin while backward goes on.
  const OnLayerDone start_reduction_ = [this](std::int64_t layer) { optimizer_->start_reduction(layer); };
  StepStats stats_;
  std::unique_ptr<MetricsFile> metrics_;
  const StopSignals& signals_;
  TimeLimit time_limit_;

  checkpoint::Provenance before_;  ///< what the weights had been through when the run began
  std::int64_t step_ = 0;          ///< completed
  std::int64_t skipped_ = 0;       ///< of them, without an update
  std::int64_t skipped_in_a_row_ = 0;
  std::int64_t data_changes_ = 0;  ///< how often the run went on with other data, and when it last did
  std::int64_t data_changed_at_step_ = 0;
  int failed_saves_in_a_row_ = 0;
  StopWishes wishes_;
  Stopwatch since_row_;
  std::int64_t steps_since_row_ = 0;
};

}  // namespace osler::train
