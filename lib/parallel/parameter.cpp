#include "parallel/parameter.hpp"

#include <ATen/ATen.h>

#include "base/error.hpp"
#include "base/text_of.hpp"
#include "comm/torch_dtype.hpp"
#include "plan/piece.hpp"

namespace osler::parallel {
namespace {

std::int64_t rounded_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

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
                               std::int64_t num_shards) {
  OSLER_CHECK(num_shards > 0, "num_shards ", num_shards);
  std::int64_t end = 0;
  bool seen_undecayed = false;
  for (const auto& spec : specs) {
    OSLER_CHECK(!(spec.decay && seen_undecayed), spec.name, " is decayed but follows one that is not");
    if (!spec.joins_previous) end = rounded_up(end, kAlignment);
    if (!spec.decay && !seen_undecayed) {
      seen_undecayed = true;
      end = rounded_up(end, kAlignment);
      decay_end_ = end;
    }
    OSLER_CHECK(index_.emplace(spec.name, parameters_.size()).second, "two parameters named ", spec.name);
    Parameter parameter;
    parameter.name = spec.name;
    parameter.decay = spec.decay;
    parameter.offset = end;
    parameters_.push_back(std::move(parameter));
    end += plan::num_elements(spec.shape);
  }
  if (!seen_undecayed) decay_end_ = end;
  num_elements_ = rounded_up(end, kAlignment * num_shards);
  data_ = at::zeros({num_elements_}, options.requires_grad(false));
  for (std::size_t i = 0; i < specs.size(); ++i) {
    parameters_[i].data = view_of(data_, parameters_[i].offset, specs[i].shape);
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
  grad_ = at::zeros({num_elements_}, data_.options().dtype(accumulation_type(data_.scalar_type())));
  for (auto& parameter : parameters_) {
    parameter.grad = view_of(grad_, parameter.offset, parameter.data.sizes().vec());
  }
}

void ParameterStore::zero_grad() {
  OSLER_CHECK(grad_.defined(), "zero_grad before allocate_grad");
  grad_.zero_();
}

std::int64_t ParameterStore::num_parameters() const {
  std::int64_t count = 0;
  for (const auto& parameter : parameters_) count += parameter.data.numel();
  return count;
}

Parameter ParameterStore::merged(const std::vector<std::string>& names) const {
  OSLER_CHECK(!names.empty(), "nothing to merge");
  const Parameter& first = (*this)[names.front()];
  OSLER_CHECK(first.data.dim() > 0, first.name, " is a scalar");
  std::vector<std::int64_t> shape = first.data.sizes().vec();
  std::int64_t end = first.offset + first.data.numel();
  Parameter whole;
  whole.name = first.name;
  whole.decay = first.decay;
  whole.offset = first.offset;
  for (std::size_t i = 1; i < names.size(); ++i) {
    const Parameter& next = (*this)[names[i]];
    OSLER_CHECK(next.offset == end, next.name, " does not follow ", names[i - 1], " in memory");
    OSLER_CHECK(next.decay == first.decay && next.data.sizes().slice(1) == first.data.sizes().slice(1), next.name,
                " cannot be merged with ", first.name);
    shape[0] += next.data.size(0);
    end += next.data.numel();
    whole.name += "+" + next.name;
  }
  whole.data = view_of(data_, whole.offset, shape);
  whole.grad = view_of(grad_, whole.offset, shape);
  return whole;
}

Parameter ParameterStore::stacked(const std::vector<std::string>& names) const {
  for (const auto& name : names) {
    OSLER_CHECK((*this)[name].data.sizes() == (*this)[names.front()].data.sizes(), name, " differs in shape from ",
                names.front());
  }
  Parameter whole = merged(names);
  std::vector<std::int64_t> shape = whole.data.sizes().vec();
  const auto count = static_cast<std::int64_t>(names.size());
  shape[0] /= count;
  shape.insert(shape.begin(), count);
  whole.data = whole.data.view(shape);
  if (whole.grad.defined()) whole.grad = whole.grad.view(shape);
  return whole;
}

std::vector<comm::ShardedTensor> whole_tensors(const ParameterStore& parameters, const std::string& group) {
  std::vector<comm::ShardedTensor> tensors;
  for (const Parameter& parameter : parameters.parameters()) {
    const std::vector<std::int64_t> shape = parameter.data.sizes().vec();
    tensors.push_back({.piece = {.name = group + parameter.name,
                                 .dtype = comm::dtype_of(parameter.data.scalar_type()),
                                 .global_shape = shape,
                                 .offset = std::vector<std::int64_t>(shape.size(), 0),
                                 .extent = shape},
                       .data = parameter.data});
  }
  return tensors;
}

}  // namespace osler::parallel
