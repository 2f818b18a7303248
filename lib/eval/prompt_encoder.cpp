#include "eval/prompt_encoder.hpp"

#include "base/error.hpp"
#include "eval/encode_pair.hpp"

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

}  // namespace

std::unique_ptr<PromptEncoder> make_plain_encoder(const text::Tokenizer& tokenizer) {
  return std::make_unique<PlainEncoder>(tokenizer);
}

}  // namespace osler::eval
