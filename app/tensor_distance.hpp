// How far two tensors of one shape are apart, added up slab by slab: neither need be in memory as a whole.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace osler::app {

class TensorDistance {
 public:
  /// The next elements of both. Of one dtype, elements differ when their bits do (so a NaN may equal a NaN, and -0 is
  /// not 0); of two, when their values do.
  void add(const at::Tensor& a, const at::Tensor& b);

  std::int64_t num_elements() const { return num_elements_; }
  std::int64_t num_differing() const { return num_differing_; }
  double largest() const { return largest_; }  ///< |a - b| of one element; NaN when an element differs by NaN
  double relative() const;                     ///< ||a - b|| / ||b||, of sums in fp64; inf when b alone is zero

 private:
  std::int64_t num_elements_ = 0;
  std::int64_t num_differing_ = 0;
  double largest_ = 0;
  double sum_of_squares_ = 0;            ///< of a - b
  double reference_sum_of_squares_ = 0;  ///< of b
};

}  // namespace osler::app
