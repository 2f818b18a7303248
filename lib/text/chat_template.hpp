// Conversations to ids by the instruct formats of published models. Every turn is encoded for itself and structure is
// put between as ids, so that text that looks like structure ("[INST]", "</s>") stays text. Local, thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/conversation.hpp"
#include "text/tokenizer.hpp"

namespace osler::text {

/// mistral_v1: <s>▁[INST]▁a▁[/INST]▁b</s>, [INST] is plain text, a system prompt and an empty line go before the first
/// user text. mistral_v3: <s>[INST]▁a[/INST]▁b</s>, control pieces, the system prompt before the LAST user text, spaces
/// at the end of an answer are cut. chatml: <|im_start|>ROLE\n TEXT <|im_end|> \n for every message. plain: user text
/// and a newline, answer, </s>; system prompt as in v1. Source: mistral-common's instruct.py (v1, v3); docs/formats.md,
/// Instruct templates.
enum class TemplateKind { mistral_v1, mistral_v3, chatml, plain };

/// "mistral-v1", ...; throws InternalError for any other name.
TemplateKind template_from_name(std::string_view name);

struct EncodedChat {
  std::vector<int> ids;
  std::vector<char> supervised;  ///< per id: 1 = part of an answer or the mark that ends it
};

/// What a generated answer ends with, besides EOS.
struct AnswerEnd {
  int id = -1;       ///< a piece; -1: none
  std::string text;  ///< where the mark is only text; empty: none
};

enum class Begin { with_bos, bare };

class ChatTemplate {
 public:
  /// Throws DataError when the tokenizer lacks the control pieces that the format needs, or has them as pieces that
  /// text can contain, or has no EOS.
  ChatTemplate(TemplateKind kind, const Tokenizer& tokenizer, Begin begin = Begin::with_bos);

  /// Messages as parse_chat_record gives them. Where the last one is the user's, the ids end where an answer begins.
  EncodedChat encode(const std::vector<Message>& messages) const;
  AnswerEnd answer_end() const;

 private:
  void encode_mistral(const std::vector<Message>& messages, EncodedChat& chat) const;
  void encode_chatml(const std::vector<Message>& messages, EncodedChat& chat) const;
  void add_text(std::string_view text, char supervised, EncodedChat& chat) const;

  TemplateKind kind_;
  Tokenizer tokenizer_;
  Begin begin_;
  int open_ = -1;  ///< the control pieces of the format; -1 where its marks are text
  int close_ = -1;
};

}  // namespace osler::text
