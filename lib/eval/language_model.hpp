// What an evaluation asks of a model: likelihoods, texts and vectors for texts. One implementation wraps the model
// under test (model_under_test.hpp); tests put a scripted one in its place. Calls are collective over the ranks that
// hold one model together: they get the same requests, or, where each has requests of its own (ep), maybe none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "generate/generator.hpp"
#include "generate/scorer.hpp"

namespace osler::eval {

struct LikelihoodRequest {
  std::string prompt;
  std::vector<std::string> continuations;
  std::string origin;  ///< file and line, for errors
};

struct TextRequest {
  std::string prompt;
  std::int64_t max_new_tokens = 0;
  std::vector<std::string> stop;
  generate::Sampling sampling;
  std::uint64_t key = 0;  ///< names the item; draws are keyed by it and the sample's number
  std::int64_t first_sample = 0;
  std::int64_t num_samples = 1;
};

class LanguageModel {
 public:
  virtual ~LanguageModel() = default;
  /// One entry per request and continuation.
  virtual std::vector<std::vector<generate::ContinuationScore>> score(
      const std::vector<LikelihoodRequest>& requests) = 0;
  /// One entry per request and sample. Texts are well-formed UTF-8.
  virtual std::vector<std::vector<generate::Generation>> generate(const std::vector<TextRequest>& requests) = 0;
  /// One vector per text, all of one length.
  virtual std::vector<std::vector<float>> embed(const std::vector<std::string>& texts) = 0;
  /// Summed log-probability of the tokens that cover the bytes [begin, end) of `generation.text`. Local.
  virtual double log_prob_of(const generate::Generation& generation, std::size_t begin, std::size_t end) const = 0;
};

}  // namespace osler::eval
