// How gradients reach Parameter::grad: added in place, in the accumulation dtype, without autograd's AccumulateGrad.
#pragma once

#include <ATen/core/Tensor.h>

namespace osler::parallel {

/// grad [F, D] += dy_RF^T x_RD. One GEMM with beta = 1 where the dtypes agree; bf16 is multiplied in bf16 (fp32 inside
/// the GEMM) and added to the fp32 buffer.
void add_weight_grad(const at::Tensor& grad_FD, const at::Tensor& dy_RF, const at::Tensor& x_RD);

/// total += part elementwise; `total` fp32 and `part` bf16, or equal dtypes.
void add_into(const at::Tensor& total, const at::Tensor& part);

}  // namespace osler::parallel
