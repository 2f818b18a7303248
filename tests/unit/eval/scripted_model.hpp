// A language model that answers from a script: what the strategies do with answers can be worked out by hand.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "eval/language_model.hpp"

namespace osler::eval {

class ScriptedModel final : public LanguageModel {
 public:
  /// The text for a prompt and the number of its sample; log-probabilities are read from a last line "lp=-0.5".
  std::function<std::string(const std::string& prompt, std::int64_t sample, const TextRequest& request)> say;
  std::function<std::vector<float>(const std::string& text)> vector_of;
  std::vector<TextRequest> asked;
  std::size_t num_scored = 0;

  std::vector<std::vector<generate::ContinuationScore>> score(const std::vector<LikelihoodRequest>& requests) override {
    std::vector<std::vector<generate::ContinuationScore>> scores;
    for (const LikelihoodRequest& request : requests) {
      ++num_scored;
      std::vector<generate::ContinuationScore> choices;
      for (const std::string& continuation : request.continuations)
        choices.push_back({-static_cast<double>((request.prompt.size() * 7 + continuation.back() * 13) % 11), false});
      scores.push_back(std::move(choices));
    }
    return scores;
  }

  std::vector<std::vector<generate::Generation>> generate(const std::vector<TextRequest>& requests) override {
    std::vector<std::vector<generate::Generation>> texts;
    for (const TextRequest& request : requests) {
      asked.push_back(request);
      texts.emplace_back();
      for (std::int64_t s = 0; s < request.num_samples; ++s) {
        std::string text = say(request.prompt, request.first_sample + s, request);
        float log_prob = -1;
        if (const std::size_t at = text.rfind("lp="); at != std::string::npos) {
          log_prob = std::stof(text.substr(at + 3));
          text.resize(at);
        }
        texts.back().push_back({.ids = {}, .text = text, .log_probs = {log_prob}, .finish = generate::Finish::eos});
      }
    }
    return texts;
  }

  std::vector<std::vector<float>> embed(const std::vector<std::string>& texts) override {
    std::vector<std::vector<float>> vectors;
    for (const std::string& text : texts) vectors.push_back(vector_of(text));
    return vectors;
  }

  double log_prob_of(const generate::Generation& generation, std::size_t, std::size_t) const override {
    return static_cast<double>(generation.log_probs.front());
  }
};

}  // namespace osler::eval
