// Full recompute: a stretch of the model keeps its inputs only and runs again in backward.
// Source: Chen et al. 2016, "Training deep nets with sublinear memory cost".
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

namespace osler::model {

/// A pure function of (residual, delta); integer outputs are taken as not differentiable.
using Stretch = std::function<std::vector<at::Tensor>(const at::Tensor& residual, const at::Tensor& delta)>;

/// Runs `stretch` without recording, and again with recording in backward. Weights' gradients reach Parameter::grad
/// once, in the second run. `delta` may be undefined.
std::vector<at::Tensor> run_again_in_backward(const Stretch& stretch, const at::Tensor& residual,
                                              const at::Tensor& delta);

}  // namespace osler::model
