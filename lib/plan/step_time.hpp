// Seconds of one optimizer step by a roofline: every GEMM at the matrix rate or at the memory rate, whichever is
// slower; element-wise kernels at the memory rate; collectives at the rate of their links, hidden as the trainer hides
// them. docs/benchmarks/forecast.md sets it against published runs.
#pragma once

#include <cstdint>

#include "plan/device.hpp"
#include "plan/forecast_input.hpp"
#include "plan/mesh.hpp"

namespace osler::plan {

/// Seconds of C[m, n] = A[m, k] B[k, n] in a precision of `width` bytes.
double gemm_seconds(const Rates& rates, double width, std::int64_t m, std::int64_t n, std::int64_t k);

/// Seconds of the kernels of one micro-batch on one rank.
struct KernelTime {
  double gemm_s = 0;
  double attention_s = 0;
  double elementwise_s = 0;
  double total_s() const { return gemm_s + attention_s + elementwise_s; }
};
KernelTime kernels_of_micro_batch(const ForecastInput& input, const Mesh& mesh, const Rates& rates);

struct StepTime {
  double gemm_s = 0;
  double attention_s = 0;
  double elementwise_s = 0;
  double between_kernels_s = 0;  ///< what the device's step_over_kernels adds
  double optimizer_s = 0;
  double tensor_s = 0;  ///< communication that nothing hides, by axis and by what is moved
  double expert_s = 0;
  double gradients_s = 0;
  double weights_s = 0;
  double compute_s() const { return gemm_s + attention_s + elementwise_s + between_kernels_s + optimizer_s; }
  double communication_s() const { return tensor_s + expert_s + gradients_s + weights_s; }
  double total_s() const { return compute_s() + communication_s(); }
};
/// All zero where the device's peak is unknown.
StepTime time_of_step(const ForecastInput& input, const Mesh& mesh);

}  // namespace osler::plan
