#include "eval/prompt_encoder.hpp"

#include "base/error.hpp"
#include "eval/encode_pair.hpp"
#include "eval/python_text.hpp"

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

 private:
  text::Tokenizer tokenizer_;
};

class ChatEncoder final : public PromptEncoder {
 public:
  ChatEncoder(text::TemplateKind kind, const text::Tokenizer& tokenizer) : template_(kind, tokenizer) {}

  std::vector<int> encode(const std::string& prompt) const override {
    return template_.encode({{text::Role::user, prompt}}).ids;
  }
  generate::ScoreRequest encode_with(const std::string& prompt,
                                     const std::vector<std::string>& continuations) const override {
    generate::ScoreRequest request{.context = encode(prompt)};
    for (const std::string& continuation : continuations) {
      const std::string answer(strip(continuation));
      const text::EncodedChat chat = template_.encode({{text::Role::user, prompt}, {text::Role::assistant, answer}});
      std::vector<int> ids;
      for (std::size_t i = 0; i < chat.ids.size(); ++i)
        if (chat.supervised[i] != 0) ids.push_back(chat.ids[i]);
      OSLER_CHECK(ids.size() > 1 && chat.ids.size() >= request.context.size() + ids.size(), answer.size());
      request.continuations.push_back(std::move(ids));
    }
    return request;
  }
  text::AnswerEnd answer_end() const override { return template_.answer_end(); }

 private:
  text::ChatTemplate template_;
};

}  // namespace

std::unique_ptr<PromptEncoder> make_prompt_encoder(const text::Tokenizer& tokenizer, const std::string& chat_template) {
  if (chat_template == "none") return std::make_unique<PlainEncoder>(tokenizer);
  return std::make_unique<ChatEncoder>(text::template_from_name(chat_template), tokenizer);
}

}  // namespace osler::eval
