// y = x W^T over parameters whose gradients accumulate in place. Megatron's names and roles: a column-parallel layer
// owns rows of W (its output features), a row-parallel layer owns columns; the groups they will talk to have one rank
// today, and it is here, not in the model, that communication will stand.
// Source: Shoeybi et al. 2019 (Megatron-LM), section 3.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "parallel/parameter.hpp"

namespace osler::parallel {

/// Makes a layer's input again in backward, for those who would rather compute it twice than keep it. What it captures
/// must carry no autograd state. Empty: the input is kept.
using Rebuild = std::function<at::Tensor()>;

/// True when a forward pass over `weight` records a backward: gradients are enabled and there is a buffer for them.
bool records_backward(const Parameter& weight);

/// x [R, D], weight [F, D] -> [R, F], x's dtype. Backward returns dx and adds dW to weight.grad.
at::Tensor linear(const at::Tensor& x_RD, const Parameter& weight, const Rebuild& rebuild = {});

class ColumnParallelLinear {
 public:
  ColumnParallelLinear() = default;
  explicit ColumnParallelLinear(Parameter weight) : weight_(std::move(weight)) {}
  at::Tensor operator()(const at::Tensor& x_RD, const Rebuild& rebuild = {}) const {
    return linear(x_RD, weight_, rebuild);
  }

 private:
  Parameter weight_;
};

class RowParallelLinear {
 public:
  RowParallelLinear() = default;
  explicit RowParallelLinear(Parameter weight) : weight_(std::move(weight)) {}
  at::Tensor operator()(const at::Tensor& x_RD, const Rebuild& rebuild = {}) const {
    return linear(x_RD, weight_, rebuild);
  }

 private:
  Parameter weight_;
};

/// Rows sorted by expert through one weight per expert: [R, D] x [E, F, D] -> [R, F]; rows_E[e] rows belong to expert e
/// (0 is legal). One grouped GEMM where the device has it (CUDA bf16), else one GEMM per expert into slices of one
/// output.
class GroupedLinear {
 public:
  GroupedLinear() = default;
  explicit GroupedLinear(Parameter weight_EFD) : weight_(std::move(weight_EFD)) {}
  at::Tensor operator()(const at::Tensor& x_RD, const std::vector<std::int64_t>& rows_E,
                        const Rebuild& rebuild = {}) const;

 private:
  Parameter weight_;
};

}  // namespace osler::parallel
