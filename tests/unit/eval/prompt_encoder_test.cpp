#include "eval/prompt_encoder.hpp"

#include <gtest/gtest.h>

#include "base/error.hpp"
#include "support/temporary_folder.hpp"
#include "text/chat_template.hpp"
#include "unit/text/tiny_model.hpp"

namespace osler::eval {
namespace {

text::Tokenizer tiny_tokenizer(const tests::TemporaryFolder& folder) {
  return text::Tokenizer(folder.write("tokenizer.model", tests::tiny_model({"ab", "abc"})));
}

/// Context and a continuation together are the conversation that fine-tuning would learn from.
TEST(PromptEncoder, AChatsPromptAndAnswerAreTheConversation) {
  const tests::TemporaryFolder folder;
  const text::Tokenizer tokenizer = tiny_tokenizer(folder);
  for (const char* name : {"mistral-v1", "plain", "chatml"}) {
    const auto encoder = make_prompt_encoder(tokenizer, name);
    const auto request = encoder->encode_with("ab </s> d", {" abc", " e"});
    const text::ChatTemplate chat(text::template_from_name(name), tokenizer);
    ASSERT_EQ(request.continuations.size(), 2u);
    EXPECT_EQ(request.context, encoder->encode("ab </s> d")) << name;
    const std::vector<std::string> answers{"abc", "e"};
    for (std::size_t i = 0; i < 2; ++i) {
      std::vector<int> ids = request.context;
      ids.insert(ids.end(), request.continuations[i].begin(), request.continuations[i].end());
      const auto whole = chat.encode({{text::Role::user, "ab </s> d"}, {text::Role::assistant, answers[i]}});
      std::vector<int> expected = whole.ids;
      while (whole.supervised[expected.size() - 1] == 0) expected.pop_back();  // chatml: a line break after the mark
      EXPECT_EQ(ids, expected) << name;
    }
  }
}

/// chatml's mark is a piece of some tokenizers and text to the others; the rest ends with EOS alone.
TEST(PromptEncoder, KnowsWhatAnAnswerEndsWith) {
  const tests::TemporaryFolder folder;
  const text::Tokenizer plain = tiny_tokenizer(folder);
  EXPECT_EQ(make_prompt_encoder(plain, "chatml")->answer_end().text, "<|im_end|>");
  EXPECT_EQ(make_prompt_encoder(plain, "mistral-v1")->answer_end().text, "");
  EXPECT_EQ(make_prompt_encoder(plain, "none")->answer_end().id, -1);
  const std::string pieces = tests::piece("<|im_start|>", 0, 3) + tests::piece("<|im_end|>", 0, 3);
  const text::Tokenizer with_pieces(folder.write("pieces/tokenizer.model", tests::tiny_model({"ab"}) + pieces));
  const text::AnswerEnd end = make_prompt_encoder(with_pieces, "chatml")->answer_end();
  EXPECT_EQ(end.id, with_pieces.vocab_size() - 1);
  EXPECT_EQ(end.text, "");
}

TEST(PromptEncoder, NoneIsPlainTextAfterBos) {
  const tests::TemporaryFolder folder;
  const text::Tokenizer tokenizer = tiny_tokenizer(folder);
  std::vector<int> expected{tokenizer.bos_id()};
  for (const int id : tokenizer.encode("ab c")) expected.push_back(id);
  EXPECT_EQ(make_prompt_encoder(tokenizer, "none")->encode("ab c"), expected);
}

TEST(PromptEncoder, ATokenizerWithoutTheControlPiecesIsRefused) {
  const tests::TemporaryFolder folder;
  EXPECT_THROW(make_prompt_encoder(tiny_tokenizer(folder), "mistral-v3"), DataError);
}

}  // namespace
}  // namespace osler::eval
