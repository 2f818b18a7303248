#include "model/fused_rows.hpp"

#include <cmath>

namespace osler::model {
namespace {

using parallel::Bf16Bits;
using parallel::exp_of;
using parallel::kLanes;
using parallel::load;
using parallel::rounded_to;
using parallel::store;
using parallel::sum_of_lanes;

template <class T>
OSLER_INLINE void norm_body(const NormRows& rows, std::int64_t begin, std::int64_t end) {
  const std::int64_t width = rows.width, blocked = width / kLanes * kLanes;
  const T* weight = static_cast<const T*>(rows.weight);
  for (std::int64_t r = begin; r < end; ++r) {
    const T* x = static_cast<const T*>(rows.x) + r * width;
    T* y = static_cast<T*>(rows.y) + r * width;
    if (rows.delta) {
      const T* delta = static_cast<const T*>(rows.delta) + r * width;
      T* sum = static_cast<T*>(rows.sum) + r * width;
      for (std::int64_t i = 0; i < width; ++i) store(sum, i, load(x, i) + load(delta, i));
      x = sum;
    }
    float lanes[kLanes] = {};
    for (std::int64_t i = 0; i < blocked; i += kLanes)
      for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += load(x, i + lane) * load(x, i + lane);
    for (std::int64_t i = blocked; i < width; ++i) lanes[i - blocked] += load(x, i) * load(x, i);
    const float rstd = 1.0f / std::sqrt(sum_of_lanes(lanes) / static_cast<float>(width) + rows.eps);
    rows.rstd[r] = rstd;
    for (std::int64_t i = 0; i < width; ++i) store(y, i, load(weight, i) * rounded_to(y, load(x, i) * rstd));
  }
}

template <class T>
OSLER_INLINE void norm_grad_body(const NormGradRows& rows, float* dweight, std::int64_t begin, std::int64_t end) {
  const std::int64_t width = rows.width, blocked = width / kLanes * kLanes;
  const T* weight = static_cast<const T*>(rows.weight);
  for (std::int64_t r = begin; r < end; ++r) {
    const T* x = static_cast<const T*>(rows.x) + r * width;
    const T* dy = static_cast<const T*>(rows.dy) + r * width;
    T* dx = static_cast<T*>(rows.dx) + r * width;
    const float rstd = rows.rstd[r];
    float lanes[kLanes] = {};
    for (std::int64_t i = 0; i < blocked; i += kLanes) {
      for (int lane = 0; lane < kLanes; ++lane) {
        const std::int64_t at = i + lane;
        const float normed = load(x, at) * rstd, gradient = load(dy, at);
        dweight[at] += gradient * normed;
        lanes[lane] += gradient * load(weight, at) * normed;
      }
    }
    for (std::int64_t i = blocked; i < width; ++i) {
      const float normed = load(x, i) * rstd, gradient = load(dy, i);
      dweight[i] += gradient * normed;
      lanes[i - blocked] += gradient * load(weight, i) * normed;
    }
    const float mean = sum_of_lanes(lanes) / static_cast<float>(width);
    if (rows.dsum) {
      const T* dsum = static_cast<const T*>(rows.dsum) + r * width;
      for (std::int64_t i = 0; i < width; ++i)
        store(dx, i, load(dsum, i) + rstd * (load(dy, i) * load(weight, i) - load(x, i) * rstd * mean));
    } else {
      for (std::int64_t i = 0; i < width; ++i)
        store(dx, i, rstd * (load(dy, i) * load(weight, i) - load(x, i) * rstd * mean));
    }
  }
}

template <class T>
OSLER_INLINE void rope_body(const RopeRows& rows, std::int64_t begin, std::int64_t end) {
  const std::int64_t half = rows.half;
  for (std::int64_t r = begin; r < end; ++r) {
    const float *cos = rows.cos + r * half, *sin = rows.sin + r * half;
    for (std::int64_t head = 0; head < rows.num_heads; ++head) {
      T* first = static_cast<T*>(rows.qk) + r * rows.stride + head * 2 * half;
      T* second = first + half;
      for (std::int64_t i = 0; i < half; ++i) {
        const float a = load(first, i), b = load(second, i), s = sin[i] * rows.sign;
        store(first, i, a * cos[i] - b * s);
        store(second, i, b * cos[i] + a * s);
      }
    }
  }
}

template <class T>
OSLER_INLINE void gated_body(const GatedRows& rows, std::int64_t begin, std::int64_t end) {
  const std::int64_t width = rows.width;
  for (std::int64_t r = begin; r < end; ++r) {
    const T* gate = static_cast<const T*>(rows.gate_up) + r * 2 * width;
    const T* up = gate + width;
    T* product = static_cast<T*>(rows.product) + r * width;
    const float scale = rows.scale ? rows.scale[r] : 1.0f;
    for (std::int64_t i = 0; i < width; ++i) {
      const float g = load(gate, i);
      store(product, i, g / (1.0f + exp_of(-g)) * load(up, i) * scale);
    }
  }
}

template <class T>
OSLER_INLINE void gated_grad_body(const GatedRows& rows, std::int64_t begin, std::int64_t end) {
  const std::int64_t width = rows.width, blocked = width / kLanes * kLanes;
  for (std::int64_t r = begin; r < end; ++r) {
    const T* gate = static_cast<const T*>(rows.gate_up) + r * 2 * width;
    const T* up = gate + width;
    const T* dproduct = static_cast<const T*>(rows.dproduct) + r * width;
    T* dgate = static_cast<T*>(rows.dgate_up) + r * 2 * width;
    T* dup = dgate + width;
    const float scale = rows.scale ? rows.scale[r] : 1.0f;
    float lanes[kLanes] = {};
    const auto one = [&](std::int64_t i, int lane) {
      const float g = load(gate, i), u = load(up, i), d = load(dproduct, i);
      const float sigmoid = 1.0f / (1.0f + exp_of(-g));
      const float silu = g * sigmoid;
      lanes[lane] += d * silu * u;
      store(dup, i, d * scale * silu);
      store(dgate, i, d * scale * u * sigmoid * (1.0f + g - silu));
    };
    for (std::int64_t i = 0; i < blocked; i += kLanes)
      for (int lane = 0; lane < kLanes; ++lane) one(i + lane, lane);
    for (std::int64_t i = blocked; i < width; ++i) one(i, static_cast<int>(i - blocked));
    if (rows.dscale) rows.dscale[r] = sum_of_lanes(lanes);
  }
}

}  // namespace

OSLER_CLONES void norm_rows(const NormRows& rows, const float*, std::int64_t begin, std::int64_t end) {
  norm_body<float>(rows, begin, end);
}
OSLER_CLONES void norm_rows(const NormRows& rows, const Bf16Bits*, std::int64_t begin, std::int64_t end) {
  norm_body<Bf16Bits>(rows, begin, end);
}
OSLER_CLONES void norm_grad_rows(const NormGradRows& rows, const float*, float* dweight, std::int64_t begin,
                                 std::int64_t end) {
  norm_grad_body<float>(rows, dweight, begin, end);
}
OSLER_CLONES void norm_grad_rows(const NormGradRows& rows, const Bf16Bits*, float* dweight, std::int64_t begin,
                                 std::int64_t end) {
  norm_grad_body<Bf16Bits>(rows, dweight, begin, end);
}
OSLER_CLONES void rope_rows(const RopeRows& rows, const float*, std::int64_t begin, std::int64_t end) {
  rope_body<float>(rows, begin, end);
}
OSLER_CLONES void rope_rows(const RopeRows& rows, const Bf16Bits*, std::int64_t begin, std::int64_t end) {
  rope_body<Bf16Bits>(rows, begin, end);
}
OSLER_CLONES void gated_rows(const GatedRows& rows, const float*, std::int64_t begin, std::int64_t end) {
  gated_body<float>(rows, begin, end);
}
OSLER_CLONES void gated_rows(const GatedRows& rows, const Bf16Bits*, std::int64_t begin, std::int64_t end) {
  gated_body<Bf16Bits>(rows, begin, end);
}
OSLER_CLONES void gated_grad_rows(const GatedRows& rows, const float*, std::int64_t begin, std::int64_t end) {
  gated_grad_body<float>(rows, begin, end);
}
OSLER_CLONES void gated_grad_rows(const GatedRows& rows, const Bf16Bits*, std::int64_t begin, std::int64_t end) {
  gated_grad_body<Bf16Bits>(rows, begin, end);
}

}  // namespace osler::model
