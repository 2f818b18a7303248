// The train step: the one function that everything else exists for, and its parts in the order in which it calls them.
#include <ATen/ATen.h>

#include <cmath>

#include "base/log.hpp"
#include "base/trace.hpp"
#include "loss/router_loss.hpp"
#include "parallel/regions.hpp"
#include "train/neftune.hpp"
#include "train/trainer.hpp"

namespace osler::train {

namespace {

// Isolated non-finite steps come from rare data and pass; three in a row mean that the weights or the data are broken,
// and every further step only wastes the allocation (OLMo-core and Megatron stop after a few as well).
constexpr std::int64_t kMostSkippedInARow = 3;

}  // namespace

Trainer::State Trainer::take_step() {
  const GlobalBatch batch = next_global_batch();
  for (const data::Batch& micro_batch : batch.micro_batches) {
    const bool is_last = &micro_batch == &batch.micro_batches.back();
    const OnLayerDone on_layer_done = is_last && spec_.parallel.overlap_reduction ? start_reduction_ : nullptr;
    const ForwardPass pass = forward(micro_batch, embedding_noise(micro_batch), on_layer_done);
    const at::Tensor loss = compute_loss(pass, batch, on_layer_done);
    backward(loss);
  }
  reduce_gradients();
  const StepTotals totals = stats_.reduce(groups_.world(), stop_wishes());
  const double grad_norm = optimizer_->compute_grad_norm();
  const Verdict verdict = check_finite(totals, grad_norm);
  if (verdict == Verdict::finite) update_weights(clip_scale(grad_norm));
  write_row(batch, totals, grad_norm, verdict);
  return finish_step(totals.wishes);
}

Trainer::GlobalBatch Trainer::next_global_batch() {
  log::set_identity(groups_.world().rank(), groups_.world().size(), place_text());
  comm::Group& dp = groups_.dp();
  GlobalBatch batch;
  batch.micro_batches = inputs_.mixture->batches_of_step(step_, dp.rank(), dp.size());
  std::int64_t num_supervised = 0;
  for (const auto& micro_batch : batch.micro_batches) num_supervised += micro_batch.num_supervised;
  batch.num_supervised = dp.all_reduce_value(num_supervised, comm::ReduceOp::sum);
  batch.num_micro_batches = static_cast<std::int64_t>(batch.micro_batches.size()) * dp.size();
  if (batch.num_supervised == 0)
    fail_together<DataError>("step ", step_ + 1,
                             ": no token of the global batch is supervised; check the data sources");
  parameters_.zero_grad();
  stats_.reset();
  return batch;
}

/// "rank 5/16 dp2 tp1 ep1 step 1200 node7": what a message of this rank begins with.
std::string Trainer::place_text() const {
  return text_of("rank ", groups_.world().rank(), "/", groups_.world().size(), " dp", groups_.dp().rank(), " tp",
                 groups_.tp().rank(), " ep", groups_.ep().rank(), " step ", step_ + 1, " ", host_);
}

/// NEFTune's; undefined where it is off.
at::Tensor Trainer::embedding_noise(const data::Batch& batch) {
  if (spec_.neftune.alpha == 0) return {};
  const trace::Span span("noise");
  return neftune_noise(batch, {.alpha = spec_.neftune.alpha,
                               .hidden_size = inputs_.model_config.hidden_size,
                               .seed = spec_.run.seed,
                               .dtype = parameters_.data().scalar_type()})
      .to(world_.device());
}

Trainer::ForwardPass Trainer::forward(const data::Batch& batch, const at::Tensor& noise_RD,
                                      const OnLayerDone& on_layer_done) {
  const trace::Span span("forward");
  DeviceBatch rows = to_device(batch, world_.device());
  model::ModelOutput output = model_->forward(rows.tokens_R, rows.positions_R, rows.layout, noise_RD, on_layer_done);
  return {batch, std::move(rows), std::move(output)};
}

// Token losses are divided once, by the supervised tokens of the whole global batch; router losses are means over its
// micro-batches. What ranks and micro-batches then add up is the gradient of the global objective.
at::Tensor Trainer::compute_loss(const ForwardPass& pass, const GlobalBatch& global, const OnLayerDone& on_layer_done) {
  const trace::Span span("loss");
  const double token_scale = 1.0 / static_cast<double>(global.num_supervised);
  const double router_scale = 1.0 / static_cast<double>(global.num_micro_batches);
  const loss::LossSum token_loss =
      loss::cross_entropy(pass.output.hidden_RD, model_->head(), pass.rows.labels_R, token_scale, groups_.tp());
  stats_.add(pass.batch, token_loss);
  if (on_layer_done) on_layer_done(inputs_.model_config.num_layers);  // the head's gradient is formed with the loss
  at::Tensor objective = token_loss.scaled;
  if (pass.output.router.logits_RE.empty()) return objective;

  const loss::RouterLoss router = compute_router_loss(pass);
  stats_.add(pass.batch, router, pass.output.router.expert_RK);
  if (router.aux.defined()) objective = objective + router.aux * (aux_coefficient() * router_scale);
  if (router.z.defined()) objective = objective + router.z * (spec_.router.z_coefficient * router_scale);
  return objective;
}

/// Of the rows that are tokens: padding is routed as well, but balances nothing.
loss::RouterLoss Trainer::compute_router_loss(const ForwardPass& pass) {
  const auto& model = inputs_.model_config;
  std::vector<at::Tensor> logits_RE = pass.output.router.logits_RE, expert_RK = pass.output.router.expert_RK;
  std::int64_t num_rows = pass.rows.tokens_R.size(0);
  if (const at::Tensor kept = is_token(pass.batch); kept.defined()) {
    num_rows = kept.sum().item<std::int64_t>();
    const at::Tensor own = parallel::own_rows(kept, groups_.tp()).nonzero().squeeze(1).to(world_.device());
    for (auto* of_layers : {&logits_RE, &expert_RK})
      for (at::Tensor& of_layer : *of_layers) of_layer = of_layer.index_select(0, own);
  }
  return loss::router_loss(logits_RE, expert_RK, model.num_experts, model.top_k, spec_.router.aux_loss,
                           spec_.router.z_coefficient > 0, groups_.tp(), num_rows);
}

void Trainer::backward(const at::Tensor& objective) {
  const trace::Span span("backward");
  objective.backward();
}

void Trainer::reduce_gradients() {
  const trace::Span span("wait for gradients");
  optimizer_->reduce_gradients();
}

void Trainer::update_weights(double grad_scale) {
  const trace::Span span("optimizer");
  optimizer_->step(step_ + 1 - skipped_, learning_rate(), grad_scale);
}

// Both numbers are equal on all ranks, so the update is skipped by all or by none.
Trainer::Verdict Trainer::check_finite(const StepTotals& totals, double grad_norm) {
  if (totals.is_finite() && std::isfinite(grad_norm)) {
    skipped_in_a_row_ = 0;
    return Verdict::finite;
  }
  ++skipped_;
  ++skipped_in_a_row_;
  log::info("step ", step_ + 1, ": loss ", totals.loss(), ", gradient norm ", grad_norm,
            ": not finite, update skipped");
  return Verdict::not_finite;
}

double Trainer::clip_scale(double grad_norm) const {
  if (spec_.optim.clip_norm <= 0) return 1.0;
  // The epsilon and the cap are those of torch.nn.utils.clip_grad_norm_, so that curves can be compared.
  return std::min(1.0, spec_.optim.clip_norm / (grad_norm + 1e-6));
}

double Trainer::learning_rate() const {
  return optim::learning_rate_at(spec_.optim, step_ + 1, spec_.run.steps);
}

StopWishes Trainer::stop_wishes() const {
  return {.signals = signals_.caught() ? 1.0 : 0.0, .time_limit = time_limit_.reached() ? 1.0 : 0.0};
}

Trainer::State Trainer::finish_step(const StopWishes& wishes) {
  ++step_;
  wishes_ = wishes;
  if (skipped_in_a_row_ >= kMostSkippedInARow)
    fail_together<NumericalError>("step ", step_, ": ", skipped_in_a_row_, " steps in a row had a loss or gradient ",
                                  "that is not finite; lower optim.learning_rate, or look at the data of these steps. ",
                                  "Checkpoints in ", directory_.checkpoints(), " are untouched");
  return validation_due() ? State::validating : state_after_validation();
}

}  // namespace osler::train
