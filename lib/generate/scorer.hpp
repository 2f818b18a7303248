// Log-likelihoods of continuations. Requests that share a context share its keys and values: context and continuations
// are packed as segments of one flattened batch (model/attention_layout.hpp), no padding. Only the rows whose next
// token is asked for go through the head; a continuation of one token adds no row at all.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "model/model.hpp"

namespace osler::generate {

struct ScoreRequest {
  std::vector<int> context;                     ///< ids, BOS included if wanted; not empty
  std::vector<std::vector<int>> continuations;  ///< each not empty
};

struct ContinuationScore {
  double log_likelihood = 0;  ///< sum over the continuation's tokens
  bool is_greedy = false;     ///< every token was the argmax
};

/// Called once per request, in the order in which they finish: longest first.
using OnScored = std::function<void(std::size_t request, const std::vector<ContinuationScore>& scores)>;

/// One entry per request and continuation, in the order of the requests. tp ranks are given the same requests and all
/// get the scores; ep ranks have requests of their own, maybe none. *Collective over tp and ep*; what on_scored throws
/// on one rank all throw. Batches are filled up to `batch_tokens` rows; one request longer than that makes a batch of
/// its own, so that memory is bounded by max(batch_tokens, its rows). Too long for the model's positions: the context
/// loses its first tokens, as in lm-eval (the last max_length + 1 tokens of context and continuation are kept). Throws
/// DataError when a continuation alone does not fit.
std::vector<std::vector<ContinuationScore>> score(model::Model& model, const std::vector<ScoreRequest>& requests,
                                                  std::int64_t batch_tokens, c10::Device device,
                                                  const OnScored& on_scored = {});

}  // namespace osler::generate
