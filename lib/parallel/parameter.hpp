// Where the parameters and their gradients live. All parameters that a rank holds share one flat buffer in the model
// dtype and one flat gradient buffer in the accumulation dtype (fp32; fp64 for fp64 models); a Parameter is a pair of
// views. Why flat: projections that read the same input lie side by side and run as one GEMM, gradients accumulate in
// place, and each bucket of the buffers is reduced, sharded and gathered without copies.
// Local: nothing here communicates.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "comm/sharded_tensor.hpp"
#include "plan/parameter_layout.hpp"

namespace osler::parallel {

struct Parameter {
  std::string name;
  at::Tensor data;  ///< view into ParameterStore::data(), model dtype, spec.extent, never requires_grad
  at::Tensor grad;  ///< view into ParameterStore::grad(), accumulation dtype, same shape
  plan::ParameterSpec spec;
  std::int64_t offset = 0;  ///< elements from the start of the flat buffers
};

class ParameterStore {
 public:
  /// Lays the specs out by plan::lay_out; gaps hold zeros.
  ParameterStore(const std::vector<plan::ParameterSpec>& specs, at::TensorOptions options, plan::Sharers sharers = {});

  const std::vector<Parameter>& parameters() const { return parameters_; }
  const Parameter& operator[](const std::string& name) const;  ///< throws InternalError when absent
  bool contains(const std::string& name) const;

  at::Tensor& data() { return data_; }  ///< flat, model dtype
  at::Tensor& grad() { return grad_; }  ///< flat, accumulation dtype; allocated by allocate_grad()
  void allocate_grad();                 ///< zero-filled; not needed for evaluation
  void zero_grad();
  const std::vector<plan::Bucket>& buckets() const { return layout_.buckets; }
  std::int64_t num_elements() const { return layout_.num_elements; }  ///< padded

  /// One tensor over several parameters that lie side by side: [sum of dim 0, ...] (q, k, v; gate, up; experts as
  /// [E, F, D]). Throws InternalError unless they are adjacent. Same for data and grad.
  Parameter merged(const std::vector<std::string>& names) const;

 private:
  plan::ParameterLayout layout_;
  std::vector<Parameter> parameters_;
  std::map<std::string, std::size_t> index_;
  at::Tensor data_;
  at::Tensor grad_;
};

/// Every parameter as the piece that this rank holds of it, named `group` + its name, for loading. Shares the store's
/// memory.
std::vector<comm::ShardedTensor> tensors_of(const ParameterStore& parameters, const std::string& group);

}  // namespace osler::parallel
