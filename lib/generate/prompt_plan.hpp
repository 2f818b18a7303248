// The prompts in the order in which they are prefilled: sorted, so that each stands beside the one with which it shares
// most, and what is common can be computed once. Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "generate/generator.hpp"

namespace osler::generate {

struct PlannedPrompt {
  std::size_t request = 0;
  std::vector<int> ids;     ///< as the model sees them
  std::int64_t common = 0;  ///< first tokens that equal those of the prompt before
};

/// Those of the requests that want tokens. Cuts prompts from the left to max_positions - max_new_tokens and counts them
/// in `num_cut`. Throws DataError or, on a request that makes no sense, InternalError.
std::vector<PlannedPrompt> plan_prompts(const std::vector<GenerateRequest>& requests, std::int64_t max_positions,
                                        std::int64_t vocab_size, std::int64_t& num_cut);

}  // namespace osler::generate
