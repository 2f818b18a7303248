// y = x W^T over parameters whose gradients accumulate in place. Megatron's names and roles: a column-parallel layer
// owns rows of W (its output features) and gathers the sequence's rows before the product, a row-parallel layer owns
// columns and scatters the sum of the ranks' products over the sequence after it.
// Source: Shoeybi et al. 2019 (Megatron-LM), section 3; Korthikanti et al. 2022, section 4.2.2.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "comm/group.hpp"
#include "parallel/parameter.hpp"

namespace osler::parallel {

/// Makes a layer's input again in backward, for those who would rather compute it twice than keep it. What it captures
/// must carry no autograd state. Empty: the input is kept.
using Rebuild = std::function<at::Tensor()>;

/// True when a forward pass over `weight` records a backward: gradients are enabled and there is a buffer for them.
bool records_backward(const Parameter& weight);

/// x [R, D] weight^T -> [R, F] for what never learns: without autograd, by row_product.hpp where that serves. *Local.*
at::Tensor inference_product(const at::Tensor& x_RD, const at::Tensor& weight_FD);

/// x [R, D], weight [F, D] -> [R, F], x's dtype. Backward returns dx and adds dW to weight.grad. *Local.*
at::Tensor linear(const at::Tensor& x_RD, const Parameter& weight, const Rebuild& rebuild = {});

/// [R/tp, D] -> [R, F/tp]. Keeps only its own rows and gathers the others again in backward. *Collective over tp.*
class ColumnParallelLinear {
 public:
  ColumnParallelLinear() = default;
  ColumnParallelLinear(Parameter weight, comm::Group& tp) : weight_(std::move(weight)), tp_(&tp) {}
  at::Tensor operator()(const at::Tensor& x_RD, const Rebuild& rebuild = {}) const;

 private:
  Parameter weight_;
  comm::Group* tp_ = nullptr;
};

/// [R, D/tp] -> [R/tp, F]. *Collective over tp.*
class RowParallelLinear {
 public:
  RowParallelLinear() = default;
  RowParallelLinear(Parameter weight, comm::Group& tp) : weight_(std::move(weight)), tp_(&tp) {}
  at::Tensor operator()(const at::Tensor& x_RD, const Rebuild& rebuild = {}) const;

 private:
  Parameter weight_;
  comm::Group* tp_ = nullptr;
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
