#include "parallel/parameter.hpp"

#include <ATen/ATen.h>

#include "base/error.hpp"
#include "base/text_of.hpp"
#include "comm/torch_dtype.hpp"
#include "plan/piece.hpp"

namespace osler::parallel {
namespace {

c10::ScalarType accumulation_type(c10::ScalarType type) {
  return type == c10::ScalarType::Double ? c10::ScalarType::Double : c10::ScalarType::Float;
}

/// The flat elements [offset, offset + product of shape) as a tensor of that shape; undefined stays undefined.
at::Tensor view_of(const at::Tensor& flat, std::int64_t offset, const std::vector<std::int64_t>& shape) {
  if (!flat.defined()) return {};
  return flat.narrow(0, offset, plan::num_elements(shape)).view(shape);
}

}  // namespace

ParameterStore::ParameterStore(const std::vector<plan::ParameterSpec>& specs, at::TensorOptions options,
                               plan::Sharers sharers)
    : layout_(plan::lay_out(specs, sharers)) {
  data_ = at::zeros({layout_.num_elements}, options.requires_grad(false));
  for (const auto& spec : specs) {
    const std::size_t index = parameters_.size();
    OSLER_CHECK(index_.emplace(spec.name, index).second, "two parameters named ", spec.name);
    const std::int64_t offset = layout_.offset[index];
    parameters_.push_back(
        {.name = spec.name, .data = view_of(data_, offset, spec.extent), .spec = spec, .offset = offset});
  }
}

const Parameter& ParameterStore::operator[](const std::string& name) const {
  const auto found = index_.find(name);
  OSLER_CHECK(found != index_.end(), "no parameter named ", name);
  return parameters_[found->second];
}

bool ParameterStore::contains(const std::string& name) const {
  return index_.count(name) != 0;
}

void ParameterStore::allocate_grad() {
  if (grad_.defined()) return;
  grad_ = at::zeros({layout_.num_elements}, data_.options().dtype(accumulation_type(data_.scalar_type())));
  for (auto& parameter : parameters_) {
    parameter.grad = view_of(grad_, parameter.offset, parameter.spec.extent);
  }
}

void ParameterStore::zero_grad() {
  OSLER_CHECK(grad_.defined(), "zero_grad before allocate_grad");
  grad_.zero_();
}

Parameter ParameterStore::merged(const std::vector<std::string>& names) const {
  OSLER_CHECK(!names.empty(), "nothing to merge");
  const Parameter& first = (*this)[names.front()];
  OSLER_CHECK(first.data.dim() > 0, first.name, " is a scalar");
  std::vector<std::int64_t> shape = first.data.sizes().vec();
  std::int64_t end = first.offset + first.data.numel();
  Parameter whole;
  whole.name = first.name;
  whole.spec = first.spec;
  whole.offset = first.offset;
  for (std::size_t i = 1; i < names.size(); ++i) {
    const Parameter& next = (*this)[names[i]];
    OSLER_CHECK(next.offset == end, next.name, " does not follow ", names[i - 1], " in memory");
    OSLER_CHECK(next.spec.decay == first.spec.decay && next.data.sizes().slice(1) == first.data.sizes().slice(1),
                next.name, " cannot be merged with ", first.name);
    shape[0] += next.data.size(0);
    end += next.data.numel();
    whole.name += "+" + next.name;
  }
  whole.data = view_of(data_, whole.offset, shape);
  whole.grad = view_of(grad_, whole.offset, shape);
  return whole;
}

std::vector<comm::ShardedTensor> tensors_of(const ParameterStore& parameters, const std::string& group) {
  std::vector<comm::ShardedTensor> tensors;
  for (const Parameter& parameter : parameters.parameters()) {
    tensors.push_back({.piece = {.name = group + parameter.name,
                                 .dtype = comm::dtype_of(parameter.data.scalar_type()),
                                 .global_shape = parameter.spec.shape,
                                 .offset = parameter.spec.offset,
                                 .extent = parameter.spec.extent},
                       .data = parameter.data});
  }
  return tensors;
}

}  // namespace osler::parallel
