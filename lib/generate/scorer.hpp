// Log-likelihoods of continuations. Requests that share a context share its keys and values: context and continuations
// are packed as segments of one flattened batch (model/attention_layout.hpp), no padding. Local to a rank.
#pragma once

#include <cstdint>
#include <vector>

#include "model/model.hpp"

namespace osler::generate {

struct ScoreRequest {
  std::vector<int> context;                      ///< ids, BOS included if wanted; not empty
  std::vector<std::vector<int>> continuations;   ///< each not empty
};

struct ContinuationScore {
  double log_likelihood = 0;   ///< sum over the continuation's tokens
  bool is_greedy = false;      ///< every token was the argmax
};

/// One entry per request and continuation, in order. Batches are filled up to batch_tokens.
std::vector<std::vector<ContinuationScore>> score(model::Model& model, const std::vector<ScoreRequest>& requests,
                                                  std::int64_t batch_tokens, c10::Device device);

}  // namespace osler::generate
