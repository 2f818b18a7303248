// RMSNorm together with the residual addition before it.
// Source: Zhang & Sennrich 2019; order of operations as MistralRMSNorm: mean of squares in fp32 (also in fp64 models,
// so that they equal transformers' to 1e-9), back to the model dtype, then times the weight.
#pragma once

#include <ATen/core/Tensor.h>

#include "parallel/linear.hpp"

namespace osler::model {

struct Normed {
  at::Tensor residual_RD;     ///< x + delta (x where delta is undefined)
  at::Tensor normed_RD;       ///< its RMSNorm
  parallel::Rebuild rebuild;  ///< makes normed_RD again from residual_RD
};

/// x_RD, delta_RD (may be undefined) in model dtype. Backward adds the weight's gradient to weight.grad.
Normed add_and_norm(const at::Tensor& x_RD, const at::Tensor& delta_RD, const parallel::Parameter& weight, double eps);

}  // namespace osler::model
