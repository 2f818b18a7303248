#include "model/recompute.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include "parallel/rebuild.hpp"

namespace osler::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct StretchHolder : torch::CustomClassHolder {
  explicit StretchHolder(Stretch run_it) : run(std::move(run_it)) {}
  Stretch run;
};

at::Tensor leaf_of(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.detach().requires_grad_(true) : at::Tensor();
}

struct RunAgainFunction : torch::autograd::Function<RunAgainFunction> {
  static variable_list forward(AutogradContext* ctx, at::Tensor residual, std::optional<at::Tensor> maybe_delta,
                               const Stretch& stretch) {
    const at::Tensor delta = maybe_delta.value_or(at::Tensor());
    ctx->set_materialize_grads(false);
    ctx->save_for_backward({residual, delta});
    ctx->saved_data["stretch"] = c10::IValue::make_capsule(c10::make_intrusive<StretchHolder>(stretch));
    variable_list outputs = stretch(residual, delta);
    variable_list integers;
    for (const auto& output : outputs)
      if (!output.is_floating_point()) integers.push_back(output);
    ctx->mark_non_differentiable(integers);
    return outputs;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor residual = leaf_of(saved[0]), delta = leaf_of(saved[1]);
    const auto holder = ctx->saved_data["stretch"].toCapsule();
    const at::AutoGradMode recording(true);
    const variable_list outputs = static_cast<StretchHolder*>(holder.get())->run(residual, delta);
    variable_list roots, root_gradients;
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      if (!gradients[i].defined() || !outputs[i].requires_grad()) continue;
      roots.push_back(outputs[i]);
      root_gradients.push_back(gradients[i]);
    }
    torch::autograd::backward(roots, root_gradients);
    ctx->saved_data.clear();
    return {residual.grad(), delta.defined() ? delta.grad() : at::Tensor(), {}};
  }
};

}  // namespace

std::vector<at::Tensor> run_again_in_backward(const Stretch& stretch, const at::Tensor& residual,
                                              const at::Tensor& delta) {
  return RunAgainFunction::apply(residual, parallel::if_defined(delta), stretch);
}

}  // namespace osler::model
