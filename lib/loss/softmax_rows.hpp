// Cross entropy of one block of logits, in place and in one visit to each row: the logits become their own gradient.
// Host kernels for fp32 and bf16; LibTorch's operations for every other device and dtype.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace osler::loss {

/// logits [rows, V] (model dtype), labels [rows] int64, loss [rows] (fp32; fp64 for fp64 logits) <- -log p(label), 0
/// where ignored. With `grad_scale`, logits become grad_scale * (softmax - onehot(label)), 0 where ignored; else they
/// are left undefined. All softmax arithmetic is in fp32 or wider.
void cross_entropy_rows(at::Tensor logits, const at::Tensor& labels, at::Tensor loss, std::optional<double> grad_scale);

}  // namespace osler::loss
