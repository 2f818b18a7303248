// Token ids to vectors. Megatron's VocabParallelEmbedding: each tp rank owns rows of the table, looks its own tokens
// up, and the sum of what the ranks found is scattered over the sequence.
#pragma once

#include <ATen/core/Tensor.h>

#include "comm/group.hpp"
#include "parallel/parameter.hpp"

namespace osler::parallel {

class VocabParallelEmbedding {
 public:
  VocabParallelEmbedding() = default;
  VocabParallelEmbedding(Parameter table_VD, comm::Group& tp) : table_(std::move(table_VD)), tp_(&tp) {}

  /// tokens_R int64, the same on all tp ranks -> [R/tp, D]. Where gradients are recorded the result is the root of the
  /// autograd graph: it requires grad, and its backward adds rows to table.grad in a fixed order. Throws DataError when
  /// an id is outside the table (CPU). *Collective over tp.*
  at::Tensor operator()(const at::Tensor& tokens_R) const;

 private:
  Parameter table_;
  comm::Group* tp_ = nullptr;
};

}  // namespace osler::parallel
