// SwiGLU's product, with the routing weight of a row folded in: scale * silu(gate) * up.
// Source: Shazeer 2020, "GLU variants improve transformer"; weighting before the last projection as Megatron-Core does,
// which is the same sum and saves keeping the experts' outputs.
#pragma once

#include <ATen/core/Tensor.h>

#include "parallel/linear.hpp"

namespace osler::model {

struct GatedProduct {
  at::Tensor product_RF;
  parallel::Rebuild rebuild;  ///< makes product_RF again from gate_up
};

/// gate_up [R, 2F] in model dtype; scale_R [R] fp32, or undefined for 1. Differentiable in both.
GatedProduct gated_product(const at::Tensor& gate_up, const at::Tensor& scale_R);

}  // namespace osler::model
