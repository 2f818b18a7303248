// Brings every token to the experts it chose and back. Dropless: T tokens with K experts each are R = T*K routed rows,
// sorted by expert (stable, so that the order is a function of the routing alone), then padded per expert with rows of
// weight 0. Megatron's token dispatcher; with one rank holding all experts nothing is sent. Deterministic.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace osler::parallel {

class TokenDispatcher {
 public:
  /// expert_TK int64: the experts of each token.
  TokenDispatcher(const at::Tensor& expert_TK, std::int64_t num_experts);

  /// Rows per expert, padding included; 0 is legal.
  const std::vector<std::int64_t>& rows_E() const { return rows_E_; }
  /// [T, D] -> [R, D]: each token's vector once per chosen expert; padding repeats the first token's. Backward sums
  /// over the K copies in fp32.
  at::Tensor dispatch(const at::Tensor& x_TD) const;
  /// [R, D] -> [T, D]: the sum over a token's K rows, in order of k, in fp32 (fp64: fp64). The weights are in the rows
  /// already.
  at::Tensor combine(const at::Tensor& y_RD) const;
  /// weight_TK -> [R]: each routed row's weight, 0 for padding, which so adds nothing to any gradient; differentiable.
  at::Tensor dispatch_weights(const at::Tensor& weight_TK) const;

 private:
  std::int64_t top_k_;
  at::Tensor source_R_;  ///< routed row -> token
  at::Tensor place_TK_;  ///< flattened: where each choice lies among the routed rows
  std::vector<std::int64_t> rows_E_;
};

}  // namespace osler::parallel
