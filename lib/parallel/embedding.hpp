// Token ids to vectors. Megatron's VocabParallelEmbedding: owns rows of the table; with one rank it owns them all.
#pragma once

#include <ATen/core/Tensor.h>

#include "parallel/parameter.hpp"

namespace osler::parallel {

class VocabParallelEmbedding {
 public:
  VocabParallelEmbedding() = default;
  explicit VocabParallelEmbedding(Parameter table_VD);

  /// tokens_R int64 -> [R, D]. Where gradients are recorded the result is the root of the autograd graph: it requires
  /// grad, and its backward adds rows to table.grad in a fixed order. Throws DataError when an id is outside the table
  /// (CPU).
  at::Tensor operator()(const at::Tensor& tokens_R) const;

 private:
  Parameter table_;
};

}  // namespace osler::parallel
