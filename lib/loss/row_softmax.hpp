// The two passes of a softmax over one row that several kernels make alike: maximum, and sum of exponentials relative
// to it. fp32 over fixed lanes (parallel/rows.hpp). Host only.
#pragma once

#include "parallel/rows.hpp"

namespace osler::loss {

/// The greatest of `width` > 0 values.
template <class T>
OSLER_INLINE float row_maximum(const T* row, std::int64_t width) {
  using namespace parallel;
  const std::int64_t blocked = width / kLanes * kLanes;
  float lanes[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = load(row, 0);
  for (std::int64_t i = 0; i < blocked; i += kLanes)
    for (int lane = 0; lane < kLanes; ++lane) {
      const float value = load(row, i + lane);
      lanes[lane] = lanes[lane] > value ? lanes[lane] : value;
    }
  float top = lanes[0];
  for (int lane = 1; lane < kLanes; ++lane) top = top > lanes[lane] ? top : lanes[lane];
  for (std::int64_t i = blocked; i < width; ++i) top = top > load(row, i) ? top : load(row, i);
  return top;
}

/// The sum of e^(value - top).
template <class T>
OSLER_INLINE float row_exponential_sum(const T* row, std::int64_t width, float top) {
  using namespace parallel;
  const std::int64_t blocked = width / kLanes * kLanes;
  float lanes[kLanes] = {};
  for (std::int64_t i = 0; i < blocked; i += kLanes)
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += exp_of(load(row, i + lane) - top);
  for (std::int64_t i = blocked; i < width; ++i) lanes[i - blocked] += exp_of(load(row, i) - top);
  return sum_of_lanes(lanes);
}

}  // namespace osler::loss
