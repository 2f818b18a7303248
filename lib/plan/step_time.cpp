#include "plan/step_time.hpp"

#include <algorithm>

#include "plan/loss_chunk.hpp"
#include "plan/shard_table.hpp"
#include "plan/traffic.hpp"

namespace osler::plan {
namespace {

// An output tile of a GEMM runs on one streaming multiprocessor, and the last wave of tiles may leave some idle
// (NVIDIA, Matrix Multiplication Background User's Guide, "Wave Quantization").
constexpr std::int64_t kTile = 128;
// Gap before a GEMM and fill of its pipeline. Assumed; it matters for small matrices only.
constexpr double kGemmStart = 5e-6;
// FlashAttention-2 forms scores again in its backward pass: 5 matrix products to the forward pass's 2.
constexpr double kAttentionBackward = 2.5;
// Share of the device that a collective takes from the kernels beside it (Calculon, systems/a100_80g.json:
// "processor_usage" 0.15; DeepSeek-V3, arXiv 2412.19437, gives 20 of 132 SMs to communication).
constexpr double kContention = 0.15;
// Bytes that the optimizer moves for one of its parameters: gradient read for the norm and for the update, master and
// two moments read and written, weight written; and for one held gradient: zeroed.
constexpr double kUpdatePasses = 2 + 6, kZeroPasses = 1;

double count(std::int64_t value) {
  return static_cast<double>(value);
}

/// Sums kernels: forward ones are run again by full recompute.
class Kernels {
 public:
  Kernels(const Rates& rates, double width, double again) : rates_(rates), width_(width), again_(again) {}

  /// y[m, n] = x[m, k] w and the two GEMMs of its backward pass, `times` over.
  void linear(std::int64_t m, std::int64_t n, std::int64_t k, double times = 1) {
    const double forward = gemm_seconds(rates_, width_, m, n, k);
    const double backward = gemm_seconds(rates_, width_, m, k, n) + gemm_seconds(rates_, width_, n, k, m);
    sum_.gemm_s += times * ((1 + again_) * forward + backward);
  }
  void attention(double forward_flops, double again) {
    sum_.attention_s += (1 + again + kAttentionBackward) * forward_flops / rates_.attention;
  }
  void elements(double num_elements) { bytes(num_elements * width_); }
  void bytes(double num_bytes) { sum_.elementwise_s += num_bytes / rates_.memory; }
  void repeat(double times) { sum_.gemm_s *= times, sum_.attention_s *= times, sum_.elementwise_s *= times; }
  void set_again(double again) { again_ = again; }
  const KernelTime& sum() const { return sum_; }

 private:
  const Rates& rates_;
  double width_;
  double again_;
  KernelTime sum_;
};

double mean_keys(const ForecastInput& input) {
  const double length = count(input.data.sequence_length);
  const double window = std::min(length, count(input.model.sliding_window.value_or(input.data.sequence_length)));
  return window - window * window / (2 * length);
}

void add_feed_forward(const ForecastInput& input, const Mesh& mesh, Kernels& kernels) {
  const config::ModelConfig& model = input.model;
  const std::int64_t rows = rows_of(input.data);
  if (!model.is_mixture) {
    kernels.linear(rows, 2 * model.intermediate_size / mesh.tp, model.hidden_size);
    kernels.linear(rows, model.hidden_size, model.intermediate_size / mesh.tp);
    return;
  }
  const std::int64_t local = model.num_experts / mesh.ep;
  const double routed = count(rows / mesh.tp * model.top_k) * (mesh.ep > 1 ? input.imbalance : 1);
  const auto expert_rows = std::max<std::int64_t>(1, static_cast<std::int64_t>(routed / count(local)));
  kernels.linear(rows / mesh.tp, model.num_experts, model.hidden_size);
  kernels.linear(expert_rows, 2 * model.intermediate_size, model.hidden_size, count(local));
  kernels.linear(expert_rows, model.hidden_size, model.intermediate_size, count(local));
}

/// Elements that the element-wise kernels of a layer read and write for one row.
struct Passes {
  double forward = 0;
  double backward = 0;
  double rebuilt = 0;  ///< forward ones that selective recompute runs again: norms and SwiGLU
};
Passes passes_of_row(const ForecastInput& input) {
  const config::ModelConfig& model = input.model;
  const double hidden = count(model.hidden_size), ffn = count(model.intermediate_size);
  const double rotated = count((model.num_heads + model.num_kv_heads) * model.head_dim);
  const double routed = model.is_mixture ? count(model.top_k) * input.imbalance : 1;
  Passes row;
  // Two norms (read, write), two residual sums (read 2, write), rotation (read, write), SwiGLU (read 2, write).
  row.forward = 4 * hidden + 6 * hidden + 2 * rotated + 3 * routed * ffn;
  // Norms (read 2, write), sums of two gradients (read 2, write), rotation, SwiGLU (read 3, write 2).
  row.backward = 6 * hidden + 6 * hidden + 2 * rotated + 5 * routed * ffn;
  row.rebuilt = 4 * hidden + 3 * routed * ffn;
  if (model.is_mixture) {  // rows copied to their experts, and weighed and summed on the way back
    row.forward += (3 * routed + 1) * hidden;
    row.backward += (3 * routed + 2) * hidden;
  }
  return row;
}

void add_layers(const ForecastInput& input, const Mesh& mesh, double again, Kernels& kernels) {
  const config::ModelConfig& model = input.model;
  const std::int64_t rows = rows_of(input.data), kv_heads = std::max(model.num_kv_heads, mesh.tp);
  const bool full = input.parallel.recompute == config::Recompute::full;
  kernels.set_again(again);
  kernels.linear(rows, (model.num_heads + 2 * kv_heads) * model.head_dim / mesh.tp, model.hidden_size);
  kernels.linear(rows, model.hidden_size, model.num_heads * model.head_dim / mesh.tp);
  kernels.attention(4 * count(rows) * mean_keys(input) * count(model.num_heads * model.head_dim) / count(mesh.tp),
                    full ? 1 : 0);
  add_feed_forward(input, mesh, kernels);
  const Passes row = passes_of_row(input);
  const bool selective = input.parallel.recompute == config::Recompute::selective;
  kernels.elements(count(rows) / count(mesh.tp) *
                   (row.forward * (full ? 2 : 1) + row.backward + (selective ? row.rebuilt : 0)));
  kernels.repeat(count(model.num_layers));
  kernels.set_again(0);
}

/// The head over chunks of rows: logits are read and their gradient written in their place.
void add_loss(const ForecastInput& input, const Mesh& mesh, Kernels& kernels) {
  const std::int64_t rows = rows_of(input.data), vocab = input.model.vocab_size / mesh.tp;
  const std::int64_t chunk = loss_chunk_rows(rows, vocab, width_of(input.parallel.dtype));
  kernels.linear(chunk, vocab, input.model.hidden_size, count(rows) / count(chunk));
  kernels.elements(2 * count(rows * vocab));
}

/// What remains of a communication of `seconds` beside `window` seconds of kernels, when it runs in `parts`: the last
/// part starts when the kernels are over, and what runs beside them slows them down.
double exposed_seconds(double seconds, double window, double parts) {
  return std::max(seconds / parts, seconds - window) + kContention * std::min(seconds, window);
}

void add_communication(const ForecastInput& input, const Mesh& mesh, const Rates& rates, const KernelTime& kernels,
                       StepTime& step) {
  const Practice& practice = input.practice;
  const bool overlaps_gradients = practice.overlaps_gradients && input.parallel.overlap_reduction;
  const double parts = count(input.model.num_layers + 1), steps = count(mesh.accumulation_steps);
  const double micro_batch = kernels.total_s() * rates.step_over_kernels;
  // Backward takes two of three parts of a micro-batch. Sharded weights move in every one, others once a step.
  const double backward = micro_batch * 2 / 3 * (practice.shards_weights ? steps : 1);
  const double forward = micro_batch / 3 * (practice.shards_weights ? 2 * steps : 1);
  for (const TrafficItem& item : traffic_of_step(input, mesh)) {
    const GroupPlace place = place_of(item.axis, mesh);
    if (item.axis == Axis::ep) {
      step.expert_s += exchange_seconds(rates, place, item.num_bytes, item.calls);
      continue;
    }
    const double seconds = ring_seconds(rates, place, item.num_bytes, item.calls);
    if (item.axis == Axis::tp) {
      const bool hidden = practice.overlaps_tensor && item.moved == Moved::activations;
      step.tensor_s += hidden ? exposed_seconds(seconds, kernels.gemm_s * steps, count(mesh.tp)) : seconds;
    } else if (item.moved == Moved::gradients) {
      step.gradients_s += overlaps_gradients ? exposed_seconds(seconds, backward, parts) : seconds;
    } else {
      step.weights_s += practice.overlaps_weights ? exposed_seconds(seconds, forward, parts) : seconds;
    }
  }
}

double optimizer_seconds(const ForecastInput& input, const Mesh& mesh, const Rates& rates) {
  const RankShare share = share_of_rank(input.model, mesh);
  const double wide = accumulation_width_of(input.parallel.dtype), width = width_of(input.parallel.dtype);
  return (count(share.owned(mesh)) * (kUpdatePasses * wide + width) + count(share.held()) * kZeroPasses * wide) /
         rates.memory;
}

}  // namespace

double gemm_seconds(const Rates& rates, double width, std::int64_t m, std::int64_t n, std::int64_t k) {
  const std::int64_t tiles = ((m + kTile - 1) / kTile) * ((n + kTile - 1) / kTile);
  const std::int64_t waves = (tiles + rates.num_sms - 1) / rates.num_sms;
  const double filled = count(tiles) / count(waves * rates.num_sms);
  const double flops = 2 * count(m) * count(n) * count(k);
  const double bytes = width * (count(m) * count(k) + count(k) * count(n) + count(m) * count(n));
  return kGemmStart + std::max(flops / (rates.peak * rates.gemm_efficiency * filled), bytes / rates.memory);
}

KernelTime kernels_of_micro_batch(const ForecastInput& input, const Mesh& mesh, const Rates& rates) {
  const double by_recompute = input.parallel.recompute == config::Recompute::full ? 1 : 0;
  const double again = input.practice.recomputed_gemms >= 0 ? input.practice.recomputed_gemms : by_recompute;
  Kernels kernels(rates, width_of(input.parallel.dtype), again);
  add_layers(input, mesh, again, kernels);
  add_loss(input, mesh, kernels);
  const RankShare share = share_of_rank(input.model, mesh);
  // Weight gradients are added to their sums: read and written once.
  kernels.bytes(2 * accumulation_width_of(input.parallel.dtype) * count(share.held()));
  return kernels.sum();
}

StepTime time_of_step(const ForecastInput& input, const Mesh& mesh) {
  const Rates rates = rates_of(input.cluster, input.parallel.dtype);
  StepTime step;
  if (!rates.knows_device()) return step;
  const KernelTime kernels = kernels_of_micro_batch(input, mesh, rates);
  const double steps = count(mesh.accumulation_steps);
  step.gemm_s = steps * kernels.gemm_s;
  step.attention_s = steps * kernels.attention_s;
  step.elementwise_s = steps * kernels.elementwise_s;
  step.between_kernels_s = steps * kernels.total_s() * (rates.step_over_kernels - 1);
  step.optimizer_s = optimizer_seconds(input, mesh, rates);
  add_communication(input, mesh, rates, kernels, step);
  return step;
}

}  // namespace osler::plan
