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
  /// What ends a text, given the prompt's own stop strings: a turn of a chat ends by itself.
  virtual std::vector<std::string> stops(const std::vector<std::string>& of_prompt) const = 0;
};

/// eval.template = none: encode_pair() and its context.
std::unique_ptr<PromptEncoder> make_plain_encoder(const text::Tokenizer& tokenizer);
/// By the name of eval.template; with another one than none the prompt, exemplars and all, is the user's one turn and a
/// continuation the assistant's answer, by the encoder that fine-tuning uses (text/chat_template.hpp).
std::unique_ptr<PromptEncoder> make_encoder(const std::string& chat_template, const text::Tokenizer& tokenizer);

}  // namespace osler::eval
