#include "eval/model_under_test.hpp"

#include "base/error.hpp"
#include "generate/embedder.hpp"
#include "text/utf8.hpp"

namespace osler::eval {

ModelUnderTest::ModelUnderTest(model::Model& model, const text::Tokenizer& tokenizer,
                               std::unique_ptr<PromptEncoder> encoder, std::uint64_t seed, std::int64_t batch_tokens,
                               c10::Device device)
    : model_(model),
      tokenizer_(tokenizer),
      encoder_(std::move(encoder)),
      seed_(seed),
      batch_tokens_(batch_tokens),
      device_(device) {}

std::vector<std::vector<generate::ContinuationScore>> ModelUnderTest::score(
    const std::vector<LikelihoodRequest>& requests) {
  std::vector<generate::ScoreRequest> encoded;
  for (const LikelihoodRequest& request : requests) {
    try {
      encoded.push_back(encoder_->encode_with(request.prompt, request.continuations));
    } catch (const DataError& error) {
      throw DataError(request.origin, ": ", error.what());
    }
  }
  return generate::score(model_, encoded, batch_tokens_, device_);
}

std::vector<std::vector<generate::Generation>> ModelUnderTest::generate(const std::vector<TextRequest>& requests) {
  const text::AnswerEnd end = encoder_->answer_end();
  std::vector<generate::GenerateRequest> encoded;
  for (const TextRequest& request : requests) {
    encoded.push_back({.prompt = encoder_->encode(request.prompt),
                       .max_new_tokens = request.max_new_tokens,
                       .stop = request.stop,
                       .end_id = end.id,
                       .sampling = request.sampling,
                       .key = request.key,
                       .first_sample = request.first_sample,
                       .num_samples = request.num_samples});
    if (!end.text.empty()) encoded.back().stop.push_back(end.text);
  }
  auto texts = generate::generate(model_, tokenizer_, encoded, seed_, batch_tokens_, device_);
  for (auto& samples : texts)
    for (generate::Generation& sample : samples) sample.text = well_formed(std::move(sample.text));
  return texts;
}

std::vector<std::vector<float>> ModelUnderTest::embed(const std::vector<std::string>& texts) {
  std::vector<std::vector<int>> encoded;
  const std::unique_ptr<PromptEncoder> plain =
      make_prompt_encoder(tokenizer_, "none");  // a question is no turn of a chat
  for (const std::string& text : texts) encoded.push_back(plain->encode(text));
  return generate::embed(model_, encoded, batch_tokens_, device_);
}

double ModelUnderTest::log_prob_of(const generate::Generation& generation, std::size_t begin, std::size_t end) const {
  // Bytes that the first `count` tokens decode to; it grows with the count.
  const auto size_of = [&](std::size_t count) {
    return tokenizer_.decode({generation.ids.begin(), generation.ids.begin() + static_cast<std::ptrdiff_t>(count)})
        .size();
  };
  const auto first_reaching = [&](std::size_t size) {
    std::size_t low = 0;
    std::size_t high = generation.ids.size();
    while (low < high) {
      const std::size_t middle = (low + high) / 2;
      if (size_of(middle) >= size)
        high = middle;
      else
        low = middle + 1;
    }
    return low;
  };
  const std::size_t first = first_reaching(begin + 1);
  const std::size_t last = first_reaching(end);
  OSLER_CHECK(first >= 1 && last <= generation.log_probs.size(), begin, " to ", end);
  double sum = 0;
  for (std::size_t i = first - 1; i < last; ++i) sum += static_cast<double>(generation.log_probs[i]);
  return sum;
}

std::string well_formed(std::string text) {
  for (std::size_t bad = text::find_bad_utf8(text); bad != std::string::npos; bad = text::find_bad_utf8(text))
    text[bad] = '?';
  return text;
}

}  // namespace osler::eval
