// Which rows go through the model next: continuous batching over the slots of a cache. Knows tokens and slots, no
// tensors, so that budget, sharing and windows are tested without a model. Local.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <optional>
#include <vector>

#include "generate/generator.hpp"
#include "generate/lockstep.hpp"
#include "generate/prompt_plan.hpp"
#include "generate/slot_pool.hpp"
#include "generate/stop_text.hpp"
#include "generate/token_choice.hpp"

namespace osler::generate {

struct ScheduleLimits {
  std::int64_t max_rows = 0;                   ///< of a pass, but for one prompt that is longer
  std::int64_t num_slots = 0;                  ///< of the cache
  std::optional<std::int64_t> sliding_window;  ///< as of the model
  int eos_id = -1;
};

/// What a pass computes and which tokens are drawn from it.
struct Pass {
  PassRows rows;
  std::vector<std::int64_t> head_rows;            ///< rows whose next token is asked for
  std::vector<Draw> draws;                        ///< Draw::row: index into head_rows
  std::deque<std::vector<std::int32_t>> storage;  ///< what layout.cached points to besides the sequences
};

class Scheduler {
 public:
  /// `finished` is called with each generation as it ends; its text is not yet decoded.
  using Finished = std::function<void(std::size_t request, std::int64_t sample, Generation generation)>;
  /// References outlive the scheduler. limits.num_slots is at least slots_needed().
  Scheduler(const std::vector<GenerateRequest>& requests, std::vector<PlannedPrompt> prompts, std::uint64_t seed,
            const ScheduleLimits& limits, Decode decode, Finished finished);

  bool has_work() const { return next_prompt_ < prompts_.size() || !started_.empty() || !live_.empty(); }
  /// Lets in what fits and lists the next pass: one row of each live sequence, then prompts. Empty only without work.
  Pass next_pass();
  /// The tokens drawn, one per draw of the last pass.
  void accept(const std::vector<Choice>& choices);

  const SlotPool& pool() const { return pool_; }
  std::int64_t num_live() const { return static_cast<std::int64_t>(live_.size()); }

 private:
  struct Sequence {  ///< a sample on its way
    std::size_t request = 0;
    std::int64_t sample = 0;
    int next_token = 0;
    std::int64_t prompt_length = 0, length = 0;  ///< tokens whose keys are, or will be after the pass, in the cache
    std::vector<std::int32_t> slots;             ///< of the last slots.size() of them
    std::int64_t num_own = 0;                    ///< slots of its own, not the prompt's
    Generation result;
  };
  struct Started {  ///< a prompt in the cache whose samples are not all live yet
    std::size_t request = 0;
    std::int64_t length = 0;
    std::vector<std::int32_t> slots;
    bool has_reserve = true;  ///< room for one sample is promised
    std::deque<Sequence> waiting;
  };
  /// What of the last prompt the next one may share.
  struct Anchor {
    std::int64_t length = 0;  ///< tokens
    std::vector<std::int32_t> slots;
  };

  std::int64_t held(std::int64_t length) const;
  std::int64_t own_slots(const GenerateRequest& request) const;
  std::int64_t num_available() const { return pool_.num_free() - promised_; }
  void decode_rows(Pass& pass);
  void let_in_samples();
  void let_in_prompts(Pass& pass);
  std::int64_t shareable(std::int64_t common) const;
  bool let_in(const PlannedPrompt& prompt, std::int64_t shared, Pass& pass);
  void drop_anchor();
  void set_anchor(const Started& started);
  void start(Started& started, const std::vector<Choice>& choices, std::size_t first);
  bool take_token(Sequence& sequence, const Choice& choice) const;
  void add_draw(Pass& pass, std::size_t request, std::int64_t sample, std::int64_t position) const;
  void finish(Sequence& sequence);

  const std::vector<GenerateRequest>& requests_;
  std::vector<PlannedPrompt> prompts_;
  std::uint64_t seed_;
  ScheduleLimits limits_;
  Decode decode_;
  Finished finished_;
  SlotPool pool_;
  std::int64_t promised_ = 0;  ///< slots that live sequences may still take
  std::size_t next_prompt_ = 0;
  std::list<Sequence> live_;  ///< in the order of the pass's first rows
  std::list<Started> started_;
  std::vector<Started*> prefilled_;  ///< by the pass under way, in the order of its rows
  Anchor anchor_;
};

/// Slots without which some prompt could never be let in.
std::int64_t slots_needed(const std::vector<GenerateRequest>& requests, const std::vector<PlannedPrompt>& prompts,
                          std::optional<std::int64_t> sliding_window);

}  // namespace osler::generate
