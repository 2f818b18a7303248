// Prompts as ids: plain text after BOS, or the turn of a chat. Local.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "generate/scorer.hpp"
#include "text/chat_template.hpp"
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
  /// What a text ends with, besides EOS and the prompt's own stop strings.
  virtual text::AnswerEnd answer_end() const { return {}; }
};

/// `chat_template` is eval.template. none: encode_pair() and its context. Else the prompt is the user's turn of a chat
/// and a continuation, without white space around it, its whole answer, with the mark that ends it
/// (text/chat_template.hpp). Throws DataError when the tokenizer lacks what the template needs.
std::unique_ptr<PromptEncoder> make_prompt_encoder(const text::Tokenizer& tokenizer, const std::string& chat_template);

}  // namespace osler::eval
