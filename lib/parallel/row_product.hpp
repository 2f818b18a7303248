// y = x W^T with every element summed in an order that depends on nothing but its length: a row's result does not
// depend on how many rows there are beside it, nor on threads. fp32 on processors with AVX-512, of which MKL uses half
// on some (docs/benchmarks/generation.md); the weights are streamed once for a few rows, as decoding has them.
#pragma once

#include <ATen/core/Tensor.h>

namespace osler::parallel {

/// Whether row_product takes these: x [R, D] and weight [F, D] contiguous fp32 on a host with AVX-512, D divisible by
/// 16 and F by 4.
bool has_row_product(const at::Tensor& x, const at::Tensor& weight_FD);

/// y [R, F] contiguous <- x W^T. *Local.*
void row_product(at::Tensor y, const at::Tensor& x, const at::Tensor& weight_FD);

}  // namespace osler::parallel
