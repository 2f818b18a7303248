// What the fused row kernels of model and loss share: loads and stores of fp32 and bf16 rows, sums over fixed lanes,
// and an exponential that compilers can vectorise. Host only; other devices use LibTorch's own kernels.
//
// Why by hand: between two GEMMs LibTorch walks over memory once per operation; on a CPU these walks cost as much as
// attention does. Sums run over kLanes partial sums in one order whatever the instruction set and the number of
// threads; an instruction set with fused multiply-add may still round differently from one without (docs/numerics.md).
#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>

#include <bit>
#include <cstdint>

#include "base/instruction_sets.hpp"

namespace osler::parallel {

using Bf16Bits = std::uint16_t;  ///< the memory of a c10::BFloat16
constexpr int kLanes = 16;

/// True when `tensor` is what the host kernels read: CPU, contiguous rows, fp32 or bf16.
inline bool has_host_rows(const at::Tensor& tensor) {
  return tensor.device().is_cpu() && tensor.is_contiguous() &&
         (tensor.scalar_type() == at::kFloat || tensor.scalar_type() == at::kBFloat16);
}

OSLER_INLINE float load(const float* row, std::int64_t i) {
  return row[i];
}
OSLER_INLINE float load(const Bf16Bits* row, std::int64_t i) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(row[i]) << 16);
}
OSLER_INLINE void store(float* row, std::int64_t i, float value) {
  row[i] = value;
}
/// Round to nearest even; NaN stays NaN.
OSLER_INLINE void store(Bf16Bits* row, std::int64_t i, float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  row[i] = static_cast<Bf16Bits>((value != value ? bits | 0x400000u : rounded) >> 16);
}
/// The value after a round trip through the row's type.
OSLER_INLINE float rounded_to(const float*, float value) {
  return value;
}
OSLER_INLINE float rounded_to(const Bf16Bits*, float value) {
  Bf16Bits bits;
  store(&bits, 0, value);
  return load(&bits, 0);
}

/// e^x within 2 units in the last place for x in [-87, 88], clamped outside; NaN stays NaN.
/// Source: Cephes expf (argument reduction by ln 2, degree-5 polynomial).
OSLER_INLINE float exp_of(float x) {
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  const float shifted = x * 1.44269504088896341f + 12582912.0f;  // 1.5 * 2^23: the integer lands in the low bits
  const float n = shifted - 12582912.0f;
  const float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const float mantissa = p * r * r + r + 1.0f;
  return mantissa * std::bit_cast<float>((std::bit_cast<std::uint32_t>(shifted) + 127u) << 23);
}

OSLER_INLINE float sum_of_lanes(const float (&lanes)[kLanes]) {
  float sum = 0;
  for (int lane = 0; lane < kLanes; ++lane) sum += lanes[lane];
  return sum;
}

/// Calls work(pointers...) with the rows' element type: float* or Bf16Bits*.
template <class Work>
void with_row_type(const at::Tensor& like, Work&& work) {
  if (like.scalar_type() == at::kFloat) {
    work(static_cast<float*>(nullptr));
  } else {
    work(static_cast<Bf16Bits*>(nullptr));
  }
}

template <class T>
T* rows_of(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<T*>(tensor.data_ptr()) : nullptr;
}

}  // namespace osler::parallel
