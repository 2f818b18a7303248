// The model that is evaluated, as the strategies see it: texts through a tokenizer into generate/. *Collective over tp
// and ep.*
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <memory>

#include "eval/language_model.hpp"
#include "eval/prompt_encoder.hpp"
#include "model/model.hpp"
#include "text/tokenizer.hpp"

namespace osler::eval {

class ModelUnderTest final : public LanguageModel {
 public:
  /// `seed` keys every draw; `batch_tokens` bounds a pass and the cache.
  ModelUnderTest(model::Model& model, const text::Tokenizer& tokenizer, std::unique_ptr<PromptEncoder> encoder,
                 std::uint64_t seed, std::int64_t batch_tokens, c10::Device device);
  std::vector<std::vector<generate::ContinuationScore>> score(const std::vector<LikelihoodRequest>& requests) override;
  std::vector<std::vector<generate::Generation>> generate(const std::vector<TextRequest>& requests) override;
  std::vector<std::vector<float>> embed(const std::vector<std::string>& texts) override;
  double log_prob_of(const generate::Generation& generation, std::size_t begin, std::size_t end) const override;

 private:
  model::Model& model_;
  text::Tokenizer tokenizer_;
  std::unique_ptr<PromptEncoder> encoder_;
  std::uint64_t seed_;
  std::int64_t batch_tokens_;
  c10::Device device_;
};

/// Replaces each byte of ill-formed UTF-8 by a question mark: half a character may stand at the end of a text.
std::string well_formed(std::string text);

}  // namespace osler::eval
