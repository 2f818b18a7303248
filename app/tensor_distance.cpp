#include "tensor_distance.hpp"

#include <ATen/ATen.h>

#include <cmath>

#include "base/error.hpp"

namespace osler::app {
namespace {

/// The same memory as integers, so that comparing compares bits.
at::Tensor bits_of(const at::Tensor& values) {
  switch (values.element_size()) {
    case 1:
      return values.view(at::kByte);
    case 2:
      return values.view(at::kShort);
    case 4:
      return values.view(at::kInt);
    default:
      return values.view(at::kLong);
  }
}

at::Tensor where_differing(const at::Tensor& a, const at::Tensor& b) {
  if (a.scalar_type() == b.scalar_type()) return bits_of(a).ne(bits_of(b));
  const at::Tensor x = a.to(at::kDouble), y = b.to(at::kDouble);
  return x.ne(y).logical_and_(x.isnan().logical_and_(y.isnan()).logical_not_());
}

double sum_of_squares(const at::Tensor& values) {
  const double norm = at::linalg_vector_norm(values, 2, std::nullopt, /*keepdim=*/false, at::kDouble).item<double>();
  return norm * norm;
}

}  // namespace

void TensorDistance::add(const at::Tensor& a, const at::Tensor& b) {
  const at::NoGradGuard no_grad;
  OSLER_CHECK(a.sizes() == b.sizes());
  num_elements_ += a.numel();
  if (a.numel() == 0) return;
  reference_sum_of_squares_ += sum_of_squares(b.is_floating_point() ? b : b.to(at::kDouble));
  const at::Tensor differing = where_differing(a, b);
  const std::int64_t count = differing.sum().item<std::int64_t>();
  if (count == 0) return;
  num_differing_ += count;
  // Elements that are equal count as 0: of two equal infinities the difference would be NaN.
  const at::Tensor difference = a.to(at::kDouble).sub_(b).masked_fill_(differing.logical_not(), 0);
  sum_of_squares_ += sum_of_squares(difference);
  const double largest = difference.abs().max().item<double>();
  if (std::isnan(largest) || largest > largest_) largest_ = largest;
}

double TensorDistance::relative() const {
  return sum_of_squares_ == 0 ? 0 : std::sqrt(sum_of_squares_ / reference_sum_of_squares_);
}

}  // namespace osler::app
