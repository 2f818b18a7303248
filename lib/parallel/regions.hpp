// Where rows of the sequence and sums over the tensor-parallel ranks meet autograd: Megatron's regions, under its
// names. With a group of one rank each is the identity and costs nothing. Every function is *collective over tp*, in
// forward and, where gradients are recorded, once more in backward. Source: Korthikanti et al. 2022 (sequence
// parallelism), figure 6; Megatron-Core tensor_parallel/mappings.py.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "comm/group.hpp"

namespace osler::parallel {

/// [R/tp, D] -> [R, D]: all-gather; backward reduce-scatter.
at::Tensor gather_from_sequence_parallel_region(const at::Tensor& x, comm::Group& tp);
/// [R, D], each rank's addend -> [R/tp, D]: reduce-scatter; backward all-gather. Megatron's mapping of the same name.
at::Tensor reduce_scatter_to_sequence_parallel_region(const at::Tensor& x, comm::Group& tp);
/// Each rank's addend -> the sum, on all: all-reduce; backward the identity, since each rank owns its addend alone.
at::Tensor reduce_from_tensor_parallel_region(const at::Tensor& x, comm::Group& tp);

/// The same two without autograd: what the layers' own backward passes are made of. R is divisible by tp.
at::Tensor gather_rows(const at::Tensor& x, comm::Group& tp);
at::Tensor reduce_scatter_rows(const at::Tensor& x, comm::Group& tp);
/// Rows index_N of the R that x [R/tp, D] is this rank's part of -> [N, D], on all ranks; without autograd. Moves N or
/// R rows, whichever are fewer.
at::Tensor select_rows(const at::Tensor& x, const at::Tensor& index_N, comm::Group& tp);
/// x; calls `work` in backward as soon as x's gradient is there. *Local.*
at::Tensor call_in_backward(const at::Tensor& x, std::function<void()> work);

/// This rank's rows of a tensor that all ranks hold whole. *Local.*
at::Tensor own_rows(const at::Tensor& x, const comm::Group& tp);

}  // namespace osler::parallel
