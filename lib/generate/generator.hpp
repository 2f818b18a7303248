// Text from a model: prefill into a cache of keys and values, then one token of every live sequence per pass, sequences
// joining as others end. Prompts that begin alike, and the samples of one request, share what they have in common.
//
// What an item gets is a function of its request, the weights and the seed: draws are keyed by (seed, key, sample,
// position), and neither batch, order nor layout enter but by the rounding of sums (docs/numerics.md, Generation).
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "model/model.hpp"
#include "text/tokenizer.hpp"

namespace osler::generate {

struct Sampling {
  double temperature = 0;  ///< 0: greedy, of equal logits the lowest id
  double top_p = 1;        ///< of the fewest tokens, likeliest first, whose probability reaches it
};

struct GenerateRequest {
  std::vector<int> prompt;  ///< ids, BOS included if wanted; not empty
  std::int64_t max_new_tokens = 0;
  std::vector<std::string> stop;  ///< a text ends before the first of these; it is not part of the text
  int end_id = -1;                ///< ends a text as EOS does; -1: only EOS
  Sampling sampling;
  std::uint64_t key = 0;  ///< names the item: its draws are keyed by (seed, key, sample, position)
  std::int64_t first_sample = 0, num_samples = 1;  ///< samples share the prompt's keys and values
};

enum class Finish { eos, stop, length };

struct Generation {
  std::vector<int> ids;          ///< without EOS; the tokens of a stop string are among them
  std::string text;              ///< decoded, cut before the stop string
  std::vector<float> log_probs;  ///< of each id, at temperature 1
  Finish finish = Finish::length;
};

/// Called once per request, as they finish, on every rank that has the request.
using OnGenerated = std::function<void(std::size_t request, const std::vector<Generation>& samples)>;

/// One entry per request and sample. tp ranks are given the same requests and all get the results; ep ranks have
/// requests of their own, maybe none. *Collective over tp and ep*; what on_generated throws on one rank all throw.
///
/// Memory: the cache has room for max(batch_tokens, the largest prompt + max_new_tokens of one sample) tokens, or for
/// all requests where that is less (bytes a token: model/kv_cache.hpp; with a sliding window a sequence holds no more
/// than that). A pass has one row for each live sequence and prompts of at most min(batch_tokens, 4096) rows together,
/// or one longer prompt. A sequence is let in only when all it may come to need is free, so that none is ever put out
/// again.
///
/// A prompt that does not fit with max_new_tokens into the model's positions loses its first tokens, as in lm-eval; a
/// warning counts them. Throws DataError when max_new_tokens alone does not fit or an id is outside the vocabulary.
std::vector<std::vector<Generation>> generate(model::Model& model, const text::Tokenizer& tokenizer,
                                              const std::vector<GenerateRequest>& requests, std::uint64_t seed,
                                              std::int64_t batch_tokens, c10::Device device,
                                              const OnGenerated& on_generated = {});

}  // namespace osler::generate
