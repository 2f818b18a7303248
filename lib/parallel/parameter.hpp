// Where the parameters and their gradients live. All parameters of a model share one flat buffer in the model dtype and
// one flat gradient buffer in the accumulation dtype (fp32; fp64 for fp64 models); a Parameter is a pair of views.
// Why flat: projections that read the same input lie side by side and run as one GEMM, gradients accumulate in place,
// the optimizer updates one slice per dp rank, reduce-scatter and all-gather need no copies.
// Local: nothing here communicates.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "comm/sharded_tensor.hpp"
#include "plan/parameter_specs.hpp"

namespace osler::parallel {

struct Parameter {
  std::string name;
  at::Tensor data;  ///< view into ParameterStore::data(), model dtype, never requires_grad
  at::Tensor grad;  ///< view into ParameterStore::grad(), accumulation dtype, same shape
  bool decay = true;
  std::int64_t offset = 0;  ///< elements from the start of the flat buffers
};

class ParameterStore {
 public:
  /// Lays the specs out in the order given. A spec that `joins_previous` follows without a gap, whatever the sizes, so
  /// that the run can be merged(); every other start is aligned to kAlignment elements. Gaps hold zeros. The total is
  /// padded to a multiple of kAlignment * num_shards. All `decay` specs must precede all others, so that one index
  /// separates them; throws InternalError when they do not.
  ParameterStore(const std::vector<plan::ParameterSpec>& specs, at::TensorOptions options, std::int64_t num_shards = 1);

  const std::vector<Parameter>& parameters() const { return parameters_; }
  const Parameter& operator[](const std::string& name) const;  ///< throws InternalError when absent
  bool contains(const std::string& name) const;

  at::Tensor& data() { return data_; }  ///< flat, model dtype
  at::Tensor& grad() { return grad_; }  ///< flat, accumulation dtype; allocated by allocate_grad()
  void allocate_grad();                 ///< zero-filled; not needed for evaluation
  void zero_grad();
  std::int64_t num_elements() const { return num_elements_; }  ///< padded
  std::int64_t decay_end() const { return decay_end_; }        ///< [0, decay_end) is decayed
  std::int64_t num_parameters() const;                         ///< unpadded

  /// One tensor over several parameters that lie side by side: [sum of dim 0, ...] (q, k, v; gate, up; experts as
  /// [E, F, D]). Throws InternalError unless they are adjacent. Same for data and grad.
  Parameter merged(const std::vector<std::string>& names) const;
  /// Stacks adjacent parameters of equal shape along a new dim 0.
  Parameter stacked(const std::vector<std::string>& names) const;

  static constexpr std::int64_t kAlignment = 64;  ///< elements; keeps every row start on a cache line for GEMM

 private:
  std::vector<Parameter> parameters_;
  std::map<std::string, std::size_t> index_;
  at::Tensor data_;
  at::Tensor grad_;
  std::int64_t num_elements_ = 0;
  std::int64_t decay_end_ = 0;
};

/// Every parameter as one whole piece named `group` + its name, for checkpoint::Weights. Shares the store's memory.
std::vector<comm::ShardedTensor> whole_tensors(const ParameterStore& parameters, const std::string& group);

}  // namespace osler::parallel
