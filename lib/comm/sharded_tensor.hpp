// A piece of a global tensor together with the memory that holds it on this rank.
#pragma once

#include <ATen/core/Tensor.h>

#include "plan/piece.hpp"

namespace osler::comm {

struct ShardedTensor {
  plan::Piece piece;
  at::Tensor data;         ///< contiguous, piece.extent elements, any device; shares the owner's memory
  bool is_primary = true;  ///< of equal pieces on several ranks one is: it is saved; all are loaded
};

}  // namespace osler::comm
