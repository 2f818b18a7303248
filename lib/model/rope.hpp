// Rotary position embedding in the published checkpoints' layout: the first and second halves of a head form the pairs.
// Source: Su et al. 2021; angles, cosines and sines in fp32 for every model dtype, as transformers computes them.
#pragma once

#include <ATen/core/Tensor.h>

namespace osler::model {

struct RopeTables {
  at::Tensor cos_RH,
      sin_RH;  ///< [R, head_dim / 2]; fp32 (fp64 models: fp32 values in fp64), bf16 models: rounded to bf16
};
RopeTables rope_tables(const at::Tensor& positions_R, std::int64_t head_dim, double theta, c10::ScalarType model_type);

/// qkv [R, C, H] is the result of one projection; rotates its first num_heads heads (queries, then keys) in place and
/// returns it. Differentiable: backward rotates back.
at::Tensor apply_rope(const at::Tensor& qkv, std::int64_t num_heads, const RopeTables& tables);

}  // namespace osler::model
