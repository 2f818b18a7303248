// What autograd Functions of parallel and model share. Keeps a layer's input for backward, or the recipe to make it
// again (parallel/linear.hpp, Rebuild).
#pragma once

#include <ATen/core/ivalue.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>

#include "comm/group.hpp"
#include "parallel/linear.hpp"

namespace osler::parallel {

struct RebuildHolder : torch::CustomClassHolder {
  explicit RebuildHolder(Rebuild make_again) : make(std::move(make_again)) {}
  Rebuild make;
};

/// How an undefined tensor is passed to a torch::autograd::Function, which takes it for a missing argument then.
inline std::optional<at::Tensor> if_defined(const at::Tensor& tensor) {
  return tensor.defined() ? std::optional<at::Tensor>(tensor) : std::nullopt;
}

/// In forward: saves `x`, or `rebuild` where there is one.
inline void save_input(torch::autograd::AutogradContext* ctx, const at::Tensor& x, const Rebuild& rebuild) {
  if (rebuild) {
    ctx->saved_data["rebuild"] = c10::IValue::make_capsule(c10::make_intrusive<RebuildHolder>(rebuild));
  } else {
    ctx->save_for_backward({x});
  }
}

/// In backward: the input of forward.
inline at::Tensor saved_input(torch::autograd::AutogradContext* ctx) {
  const auto found = ctx->saved_data.find("rebuild");
  if (found == ctx->saved_data.end()) return ctx->get_saved_variables().at(0);
  return static_cast<RebuildHolder*>(found->second.toCapsule().get())->make();
}

/// The group a Function communicates over in backward; it outlives the graph.
inline void save_group(torch::autograd::AutogradContext* ctx, comm::Group& group) {
  ctx->saved_data["group"] = reinterpret_cast<std::int64_t>(&group);
}
inline comm::Group& saved_group(torch::autograd::AutogradContext* ctx) {
  return *reinterpret_cast<comm::Group*>(ctx->saved_data["group"].toInt());
}

}  // namespace osler::parallel
