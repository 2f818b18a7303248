#include "generate/generator.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <iterator>
#include <optional>

#include "base/error.hpp"
#include "base/log.hpp"
#include "generate/lockstep.hpp"
#include "generate/prompt_plan.hpp"
#include "generate/scheduler.hpp"
#include "generate/stop_text.hpp"
#include "generate/token_choice.hpp"
#include "parallel/regions.hpp"

namespace osler::generate {
namespace {

// A pass with more prompt rows is no faster and its activations no longer fit into caches.
constexpr std::int64_t kPassRows = 4096;

at::Tensor index_tensor(const std::vector<std::int64_t>& values, c10::Device device) {
  return at::tensor(values, at::kLong).to(device, /*non_blocking=*/true);
}

/// The results as they come in.
class Collector {
 public:
  Collector(const std::vector<GenerateRequest>& requests, const Decode& decode, const OnGenerated& on_generated)
      : requests_(requests), decode_(decode), on_generated_(on_generated), results_(requests.size()) {
    for (std::size_t r = 0; r < requests.size(); ++r) {
      const auto samples = static_cast<std::size_t>(std::max<std::int64_t>(0, requests[r].num_samples));
      results_[r].resize(samples);
      left_.push_back(samples);
    }
  }

  void add(std::size_t request, std::int64_t sample, Generation generation) {
    generation.text = decode_(generation.ids);
    if (generation.finish == Finish::stop) generation.text = cut_text(generation.text, requests_[request].stop);
    results_[request][static_cast<std::size_t>(sample)] = std::move(generation);
    if (--left_[request] == 0 && on_generated_) on_generated_(request, results_[request]);
  }
  /// Those that want no token.
  void add_empty() {
    for (std::size_t r = 0; r < requests_.size(); ++r)
      if (on_generated_ && (requests_[r].max_new_tokens == 0 || left_[r] == 0)) on_generated_(r, results_[r]);
  }
  std::vector<std::vector<Generation>> take() { return std::move(results_); }

 private:
  const std::vector<GenerateRequest>& requests_;
  const Decode& decode_;
  const OnGenerated& on_generated_;
  std::vector<std::vector<Generation>> results_;
  std::vector<std::size_t> left_;
};

/// A model may have more words than its tokenizer.
Decode decoder(const text::Tokenizer& tokenizer) {
  return [&tokenizer](const std::vector<int>& ids) {
    std::vector<int> known;
    std::copy_if(ids.begin(), ids.end(), std::back_inserter(known),
                 [&](int id) { return id < tokenizer.vocab_size(); });
    return tokenizer.decode(known);
  };
}

class Run {
 public:
  Run(model::Model& model, const text::Tokenizer& tokenizer, const std::vector<GenerateRequest>& requests,
      std::int64_t batch_tokens, c10::Device device, const OnGenerated& on_generated)
      : model_(model),
        device_(device),
        decode_(decoder(tokenizer)),
        collector_(requests, decode_, on_generated),
        requests_(requests),
        batch_tokens_(batch_tokens),
        eos_id_(tokenizer.eos_id()) {}

  std::vector<std::vector<Generation>> run(std::uint64_t seed) {
    const Lockstep lockstep(model_.groups());
    std::exception_ptr failure;
    try {
      prepare(seed);
    } catch (...) {
      failure = std::current_exception();
    }
    while (lockstep.any(scheduler_ && scheduler_->has_work(), failure)) {
      Pass pass = scheduler_ ? scheduler_->next_pass() : Pass();
      const std::vector<Choice> choices = compute(pass);
      try {
        if (scheduler_) scheduler_->accept(choices);
      } catch (...) {
        failure = std::current_exception();
      }
    }
    return collector_.take();
  }

 private:
  void prepare(std::uint64_t seed) {
    const auto& config = model_.config();
    std::int64_t num_cut = 0;
    std::vector<PlannedPrompt> prompts =
        plan_prompts(requests_, config.max_position_embeddings, config.vocab_size, num_cut);
    if (num_cut > 0)
      log::warning("generate: ", num_cut, " prompts were too long for the model's ", config.max_position_embeddings,
                   " positions and lost their first tokens");
    collector_.add_empty();
    if (prompts.empty()) return;
    const std::int64_t slots = std::max(batch_tokens_, slots_needed(requests_, prompts, config.sliding_window));
    cache_.emplace(model_.make_cache(std::min(slots, slots_wanted(prompts))));
    scheduler_.emplace(
        requests_, std::move(prompts), seed,
        ScheduleLimits{std::min(batch_tokens_, kPassRows), cache_->num_slots(), config.sliding_window, eos_id_},
        decode_, [this](std::size_t request, std::int64_t sample, Generation generation) {
          collector_.add(request, sample, std::move(generation));
        });
  }

  /// Few short requests need no more than this.
  std::int64_t slots_wanted(const std::vector<PlannedPrompt>& prompts) const {
    std::int64_t slots = 1;
    for (const PlannedPrompt& prompt : prompts) {
      const GenerateRequest& request = requests_[prompt.request];
      slots += static_cast<std::int64_t>(prompt.ids.size()) + request.num_samples * request.max_new_tokens;
    }
    return slots;
  }

  std::vector<Choice> compute(Pass& pass) {
    const at::NoGradGuard no_grad;
    comm::Group& tp = model_.groups().tp();
    pass.rows.pad(tp.size());
    pass.rows.layout.cache = cache_ ? &*cache_ : nullptr;
    const at::Tensor hidden_RD = model_
                                     .forward(index_tensor(pass.rows.tokens, device_),
                                              index_tensor(pass.rows.positions, device_), pass.rows.layout)
                                     .hidden_RD;
    if (pass.draws.empty()) return {};
    return choose_tokens(parallel::select_rows(hidden_RD, index_tensor(pass.head_rows, device_), tp), model_.head(),
                         pass.draws, tp);
  }

  model::Model& model_;
  c10::Device device_;
  Decode decode_;
  Collector collector_;
  const std::vector<GenerateRequest>& requests_;
  std::int64_t batch_tokens_;
  int eos_id_;
  std::optional<model::KeyValueCache> cache_;
  std::optional<Scheduler> scheduler_;
};

}  // namespace

std::vector<std::vector<Generation>> generate(model::Model& model, const text::Tokenizer& tokenizer,
                                              const std::vector<GenerateRequest>& requests, std::uint64_t seed,
                                              std::int64_t batch_tokens, c10::Device device,
                                              const OnGenerated& on_generated) {
  return Run(model, tokenizer, requests, batch_tokens, device, on_generated).run(seed);
}

}  // namespace osler::generate
