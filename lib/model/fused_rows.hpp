// The row loops of the host: everything a layer does to a row between two GEMMs in one pass over memory, in fp32
// inside. fp32 and bf16 (T = float or parallel::Bf16Bits) on the CPU only; norm.cpp, rope.cpp and gated_product.cpp
// choose between these and LibTorch's operations.
#pragma once

#include <cstdint>

#include "parallel/rows.hpp"

namespace osler::model {

struct NormRows {
  const void *x, *delta, *weight;  ///< [R, D], [R, D] or null, [D]
  void *sum, *y;                   ///< x + delta (null when delta is), normalised and weighted
  float* rstd;                     ///< [R]
  std::int64_t width;
  float eps;
};
void norm_rows(const NormRows& rows, const float*, std::int64_t begin, std::int64_t end);
void norm_rows(const NormRows& rows, const parallel::Bf16Bits*, std::int64_t begin, std::int64_t end);

struct NormGradRows {
  const void *x, *weight, *dy, *dsum;  ///< dsum: gradient that reaches x past the norm, or null
  const float* rstd;
  void* dx;
  std::int64_t width;
};
/// Adds the weight's gradient over rows [begin, end) to dweight [D] (fp32).
void norm_grad_rows(const NormGradRows& rows, const float*, float* dweight, std::int64_t begin, std::int64_t end);
void norm_grad_rows(const NormGradRows& rows, const parallel::Bf16Bits*, float* dweight, std::int64_t begin,
                    std::int64_t end);

struct RopeRows {
  void* qk;                ///< [R, stride], the first num_heads * 2 * half elements of a row are rotated in place
  const float *cos, *sin;  ///< [R, half]
  std::int64_t stride, num_heads, half;
  float sign;  ///< 1 forward, -1 backward
};
void rope_rows(const RopeRows& rows, const float*, std::int64_t begin, std::int64_t end);
void rope_rows(const RopeRows& rows, const parallel::Bf16Bits*, std::int64_t begin, std::int64_t end);

struct GatedRows {
  const void* gate_up;   ///< [R, 2F]: gate, then up
  const float* scale;    ///< [R] or null: multiplies the row
  void* product;         ///< [R, F] = scale * silu(gate) * up
  const void* dproduct;  ///< backward: [R, F]
  void* dgate_up;        ///< backward: [R, 2F]
  float* dscale;         ///< backward: [R], null when scale is
  std::int64_t width;    ///< F
};
void gated_rows(const GatedRows& rows, const float*, std::int64_t begin, std::int64_t end);
void gated_rows(const GatedRows& rows, const parallel::Bf16Bits*, std::int64_t begin, std::int64_t end);
void gated_grad_rows(const GatedRows& rows, const float*, std::int64_t begin, std::int64_t end);
void gated_grad_rows(const GatedRows& rows, const parallel::Bf16Bits*, std::int64_t begin, std::int64_t end);

}  // namespace osler::model
