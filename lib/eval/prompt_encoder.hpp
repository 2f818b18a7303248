// Prompts as ids: plain text after BOS, or the turn of a chat. Local.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "generate/scorer.hpp"
#include "text/tokenizer.hpp"

namespace osler::eval {

class PromptEncoder {
 public:
  virtual ~PromptEncoder() = default;
  /// What a text is generated after.
  virtual std::vector<int> encode(const std::string& prompt) const = 0;
  /// Throws DataError when a continuation leaves no token of its own.
  virtual generate::ScoreRequest encode_with(const std::string& prompt,
                                             const std::vector<std::string>& continuations) const = 0;
};

/// eval.template = none: encode_pair() and its context.
std::unique_ptr<PromptEncoder> make_plain_encoder(const text::Tokenizer& tokenizer);

}  // namespace osler::eval
