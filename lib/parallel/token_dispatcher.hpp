// Brings every token to the experts it chose and back. Dropless: T tokens with K experts each are S = T*K rows, sorted
// by expert (stable, so that the order is a function of the routing alone); over ep they go to the rank that holds the
// expert, which sorts what it gets by expert and sender and pads per expert with rows of weight 0. Megatron's token
// dispatcher (all-to-all); with one rank nothing is sent. Deterministic.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "comm/group.hpp"
#include "parallel/linear.hpp"

namespace osler::parallel {

class TokenDispatcher {
 public:
  /// expert_TK int64: the experts of each of this rank's tokens, of num_experts that lie on the ep ranks in equal
  /// blocks. *Collective over ep*: ranks tell each other how many rows they will send.
  TokenDispatcher(const at::Tensor& expert_TK, std::int64_t num_experts, comm::Group& ep);

  /// Rows per expert of this rank, padding included; 0 is legal.
  const std::vector<std::int64_t>& rows_E() const { return rows_E_; }
  /// [T, D] -> [R, D]: each token's vector once per chosen expert, R being the rows of this rank's experts; padding
  /// repeats some row. Backward sums over the K copies in fp32. *Collective over ep.*
  at::Tensor dispatch(const at::Tensor& x_TD) const;
  /// How dispatch()'s rows are made again in backward from what `rebuild` makes; empty where that would mean sending
  /// them again.
  Rebuild dispatch_again(const Rebuild& rebuild) const;
  /// [R, D] -> [T, D]: the sum over a token's K rows, in order of k, in fp32 (fp64: fp64). The weights are in the rows
  /// already. *Collective over ep.*
  at::Tensor combine(const at::Tensor& y_RD) const;
  /// weight_TK -> [R]: each routed row's weight, 0 for padding, which so adds nothing to any gradient; differentiable.
  /// *Collective over ep.*
  at::Tensor dispatch_weights(const at::Tensor& weight_TK) const;

 private:
  void exchange_counts(const at::Tensor& counts_E);
  void lay_out_received(const std::vector<std::int64_t>& counts_PE);

  comm::Group* ep_;
  std::int64_t top_k_;
  at::Tensor source_S_;               ///< sent row -> token
  at::Tensor place_TK_;               ///< flattened: where each choice lies among the sent rows
  std::vector<std::int64_t> sent_P_;  ///< rows to each ep rank
  std::vector<std::int64_t> received_P_;
  at::Tensor received_of_R_;    ///< expert row -> received row; of padding: 0
  at::Tensor row_of_received_;  ///< its inverse
  std::vector<std::int64_t> rows_E_;
};

}  // namespace osler::parallel
