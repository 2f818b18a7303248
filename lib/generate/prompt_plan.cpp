#include "generate/prompt_plan.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace osler::generate {
namespace {

void check(const GenerateRequest& request, std::size_t index, std::int64_t max_positions, std::int64_t vocab_size) {
  OSLER_CHECK(!request.prompt.empty(), "request ", index, " has an empty prompt");
  OSLER_CHECK(request.max_new_tokens >= 0 && request.num_samples >= 0 && request.first_sample >= 0, "request ", index);
  OSLER_CHECK(request.sampling.temperature >= 0 && request.sampling.top_p > 0 && request.sampling.top_p <= 1,
              "request ", index, ": temperature ", request.sampling.temperature, ", top_p ", request.sampling.top_p);
  for (const std::string& stop : request.stop)
    OSLER_CHECK(!stop.empty(), "request ", index, " has an empty stop string");
  if (request.max_new_tokens >= max_positions)
    throw DataError("asked for ", request.max_new_tokens, " new tokens of a model with ", max_positions,
                    " positions, which leaves none for a prompt; ask for fewer");
  const auto bad =
      std::find_if(request.prompt.begin(), request.prompt.end(), [&](int id) { return id < 0 || id >= vocab_size; });
  if (bad != request.prompt.end())
    throw DataError("token id ", *bad, " is outside the model's vocabulary of ", vocab_size,
                    "; was this prompt made with another tokenizer?");
}

}  // namespace

std::vector<PlannedPrompt> plan_prompts(const std::vector<GenerateRequest>& requests, std::int64_t max_positions,
                                        std::int64_t vocab_size, std::int64_t& num_cut) {
  std::vector<PlannedPrompt> prompts;
  num_cut = 0;
  for (std::size_t r = 0; r < requests.size(); ++r) {
    const GenerateRequest& request = requests[r];
    check(request, r, max_positions, vocab_size);
    if (request.max_new_tokens == 0 || request.num_samples == 0) continue;
    const auto length = static_cast<std::int64_t>(request.prompt.size());
    const std::int64_t kept = std::min(length, max_positions - request.max_new_tokens);
    if (kept < length) ++num_cut;
    prompts.push_back({r, {request.prompt.end() - kept, request.prompt.end()}, 0});
  }
  std::stable_sort(prompts.begin(), prompts.end(), [](const auto& a, const auto& b) { return a.ids < b.ids; });
  for (std::size_t i = 1; i < prompts.size(); ++i) {
    const auto &before = prompts[i - 1].ids, &ids = prompts[i].ids;
    prompts[i].common = std::mismatch(before.begin(), before.end(), ids.begin(), ids.end()).first - before.begin();
  }
  return prompts;
}

}  // namespace osler::generate
