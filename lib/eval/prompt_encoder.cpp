#include "eval/prompt_encoder.hpp"

#include "base/error.hpp"
#include "eval/encode_pair.hpp"
#include "eval/python_text.hpp"
#include "text/chat_template.hpp"

namespace osler::eval {

namespace {

class PlainEncoder final : public PromptEncoder {
 public:
  explicit PlainEncoder(const text::Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  std::vector<int> encode(const std::string& prompt) const override {
    std::vector<int> ids;
    if (tokenizer_.adds_bos() && tokenizer_.bos_id() >= 0) ids.push_back(tokenizer_.bos_id());
    const std::vector<int> text = tokenizer_.encode(prompt);
    ids.insert(ids.end(), text.begin(), text.end());
    if (ids.empty()) throw DataError("an empty prompt and a tokenizer without BOS: nothing to go on from");
    return ids;
  }
  generate::ScoreRequest encode_with(const std::string& prompt,
                                     const std::vector<std::string>& continuations) const override {
    return encode_pair(tokenizer_, prompt, continuations);
  }
  std::vector<std::string> stops(const std::vector<std::string>& of_prompt) const override { return of_prompt; }

 private:
  text::Tokenizer tokenizer_;
};

class ChatEncoder final : public PromptEncoder {
 public:
  ChatEncoder(text::TemplateKind kind, const text::Tokenizer& tokenizer)
      : kind_(kind), tokenizer_(tokenizer), chat_(kind, tokenizer) {}

  std::vector<int> encode(const std::string& prompt) const override {
    return chat_.encode({{text::Role::user, prompt}}).ids;
  }
  generate::ScoreRequest encode_with(const std::string& prompt,
                                     const std::vector<std::string>& continuations) const override {
    generate::ScoreRequest request{encode(prompt), {}};
    for (const std::string& continuation : continuations)  // an answer is encoded for itself, as in training
      request.continuations.push_back(tokenizer_.encode(strip(continuation)));
    return request;
  }
  std::vector<std::string> stops(const std::vector<std::string>&) const override {
    return kind_ == text::TemplateKind::chatml ? std::vector<std::string>{"<|im_end|>"} : std::vector<std::string>{};
  }

 private:
  text::TemplateKind kind_;
  text::Tokenizer tokenizer_;
  text::ChatTemplate chat_;
};

}  // namespace

std::unique_ptr<PromptEncoder> make_encoder(const std::string& chat_template, const text::Tokenizer& tokenizer) {
  if (chat_template == "none") return make_plain_encoder(tokenizer);
  return std::make_unique<ChatEncoder>(text::template_from_name(chat_template), tokenizer);
}

std::unique_ptr<PromptEncoder> make_plain_encoder(const text::Tokenizer& tokenizer) {
  return std::make_unique<PlainEncoder>(tokenizer);
}

}  // namespace osler::eval
