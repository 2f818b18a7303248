#include "generate/scheduler.hpp"

#include <algorithm>
#include <cmath>

#include "base/error.hpp"
#include "base/random.hpp"

namespace osler::generate {
namespace {

// Fewer common tokens cost more in passes of their own and masked attention than they save.
constexpr std::int64_t kLeastShared = 32;

/// Tokens of a prompt that later ones can see.
std::int64_t held_of(std::int64_t length, std::optional<std::int64_t> window) {
  return window ? std::min(length, *window - 1) : length;
}

/// The last token drawn is never read.
std::int64_t own_of(const GenerateRequest& request, std::optional<std::int64_t> window) {
  return window ? std::min(request.max_new_tokens - 1, *window) : request.max_new_tokens - 1;
}

}  // namespace

std::int64_t slots_needed(const std::vector<GenerateRequest>& requests, const std::vector<PlannedPrompt>& prompts,
                          std::optional<std::int64_t> sliding_window) {
  std::int64_t needed = 1;
  for (const PlannedPrompt& prompt : prompts)
    needed = std::max(needed, held_of(static_cast<std::int64_t>(prompt.ids.size()), sliding_window) +
                                  own_of(requests[prompt.request], sliding_window));
  return needed;
}

Scheduler::Scheduler(const std::vector<GenerateRequest>& requests, std::vector<PlannedPrompt> prompts,
                     std::uint64_t seed, const ScheduleLimits& limits, Decode decode, Finished finished)
    : requests_(requests),
      prompts_(std::move(prompts)),
      seed_(seed),
      limits_(limits),
      decode_(std::move(decode)),
      finished_(std::move(finished)),
      pool_(limits.num_slots) {}

std::int64_t Scheduler::held(std::int64_t length) const {
  return held_of(length, limits_.sliding_window);
}

std::int64_t Scheduler::own_slots(const GenerateRequest& request) const {
  return own_of(request, limits_.sliding_window);
}

Pass Scheduler::next_pass() {
  Pass pass;
  prefilled_.clear();
  decode_rows(pass);
  let_in_prompts(pass);
  OSLER_CHECK(!pass.draws.empty() || !has_work(), "no sequence fits into ", limits_.num_slots, " slots");
  return pass;
}

/// One row of each live sequence.
void Scheduler::decode_rows(Pass& pass) {
  for (Sequence& sequence : live_) {
    if (limits_.sliding_window) {  // what the new token does not see is free
      const std::int64_t seen = std::min<std::int64_t>(sequence.length, *limits_.sliding_window - 1);
      const std::int64_t gone = static_cast<std::int64_t>(sequence.slots.size()) - seen;
      if (gone > 0) {
        pool_.release({sequence.slots.data(), static_cast<std::size_t>(gone)});
        sequence.slots.erase(sequence.slots.begin(), sequence.slots.begin() + gone);
        const std::int64_t own = std::min(sequence.num_own, seen);
        promised_ += sequence.num_own - own;
        sequence.num_own = own;
      }
    }
    sequence.slots.push_back(pool_.take());
    ++sequence.num_own;
    --promised_;
    pass.head_rows.push_back(pass.rows.append(&sequence.next_token, 1, sequence.length));
    const std::span<const std::int32_t> slots = sequence.slots;
    pass.rows.layout.cached.push_back({slots.first(slots.size() - 1), slots.last(1)});
    ++sequence.length;
    add_draw(pass, sequence.request, sequence.sample, static_cast<std::int64_t>(sequence.result.ids.size()));
  }
}

/// Samples of prompts that are in the cache.
void Scheduler::let_in_samples() {
  for (auto started = started_.begin(); started != started_.end();) {
    const std::int64_t own = own_slots(requests_[started->request]);
    while (!started->waiting.empty() && (started->has_reserve || num_available() >= own)) {
      if (!started->has_reserve) promised_ += own;
      started->has_reserve = false;
      Sequence sequence = std::move(started->waiting.front());
      started->waiting.pop_front();
      sequence.slots = started->slots;
      pool_.share(sequence.slots);
      live_.push_back(std::move(sequence));
    }
    if (!started->waiting.empty()) {
      ++started;
      continue;
    }
    if (started->has_reserve) promised_ -= own;
    pool_.release(started->slots);
    started = started_.erase(started);
  }
}

/// Of `common` first tokens, those that the anchor can lend.
std::int64_t Scheduler::shareable(std::int64_t common) const {
  const std::int64_t shared = std::min(common, anchor_.length);
  if (shared < kLeastShared) return 0;
  const std::int64_t first_held = anchor_.length - static_cast<std::int64_t>(anchor_.slots.size());
  return shared - held(shared) >= first_held ? shared : 0;
}

void Scheduler::let_in_prompts(Pass& pass) {
  const std::size_t first = next_prompt_;
  std::int64_t common = anchor_.length;  // with the anchor's prompt: the least along the way
  while (next_prompt_ < prompts_.size()) {
    const PlannedPrompt& prompt = prompts_[next_prompt_];
    common = std::min(common, prompt.common);
    const auto length = static_cast<std::int64_t>(prompt.ids.size());
    const std::int64_t shared = shareable(std::min(common, length - 1));
    // The one before is in this pass: if it has much to lend, this one waits for the next.
    if (next_prompt_ > first && std::min(prompt.common, length - 1) - shared >= kLeastShared) break;
    const bool is_first = prefilled_.empty();
    if (!is_first && pass.rows.layout.num_rows + length - shared > limits_.max_rows) break;
    if (!let_in(prompt, shared, pass)) {
      if (!pass.draws.empty() || anchor_.slots.empty()) break;
      drop_anchor();  // nobody else is there: all of the cache is this prompt's
      common = 0;
      continue;
    }
    ++next_prompt_;
  }
  if (next_prompt_ > first) set_anchor(started_.back());
}

/// The prompt's rows but for the `shared` first, if there is room for it and one sample.
bool Scheduler::let_in(const PlannedPrompt& prompt, std::int64_t shared, Pass& pass) {
  const GenerateRequest& request = requests_[prompt.request];
  const auto length = static_cast<std::int64_t>(prompt.ids.size());
  const std::int64_t num_held = held(length), num_lent = std::max<std::int64_t>(0, num_held - (length - shared));
  const std::int64_t num_new = num_held - num_lent, own = own_slots(request);
  if (num_available() < num_new + own) return false;
  promised_ += own;
  Started started{prompt.request, length, {}, true, {}};
  const auto first_held = anchor_.length - static_cast<std::int64_t>(anchor_.slots.size());
  const std::span<const std::int32_t> lent =
      shared == 0 ? std::span<const std::int32_t>()
                  : std::span<const std::int32_t>(anchor_.slots).first(static_cast<std::size_t>(shared - first_held));
  const auto kept_of_lent = lent.last(static_cast<std::size_t>(num_lent));
  started.slots.assign(kept_of_lent.begin(), kept_of_lent.end());
  pool_.share(started.slots);
  for (std::int64_t i = 0; i < num_new; ++i) started.slots.push_back(pool_.take());
  started_.push_back(std::move(started));
  prefilled_.push_back(&started_.back());

  pass.storage.emplace_back(lent.begin(), lent.end());
  const std::span<const std::int32_t> slots = started_.back().slots;
  const std::int64_t row = pass.rows.append(prompt.ids.data() + shared, length - shared, shared);
  pass.rows.layout.cached.push_back({pass.storage.back(), slots.last(static_cast<std::size_t>(num_new))});
  pass.head_rows.push_back(row + length - shared - 1);
  for (std::int64_t i = 0; i < request.num_samples; ++i) add_draw(pass, prompt.request, i, 0);
  return true;
}

void Scheduler::drop_anchor() {
  pool_.release(anchor_.slots);
  anchor_ = {};
}

/// Holds on to what the next prompt shares with the last one.
void Scheduler::set_anchor(const Started& started) {
  drop_anchor();
  if (next_prompt_ == prompts_.size()) return;
  const PlannedPrompt& next = prompts_[next_prompt_];
  const std::int64_t common = std::min(next.common, static_cast<std::int64_t>(next.ids.size()) - 1);
  const std::int64_t first_held = started.length - static_cast<std::int64_t>(started.slots.size());
  const std::int64_t begin = common - held(common);  // what a window would still show
  if (common < kLeastShared || begin < first_held) return;
  anchor_.length = common;
  anchor_.slots.assign(started.slots.begin() + (begin - first_held), started.slots.begin() + (common - first_held));
  pool_.share(anchor_.slots);
}

void Scheduler::add_draw(Pass& pass, std::size_t request, std::int64_t sample, std::int64_t position) const {
  const GenerateRequest& wanted = requests_[request];
  Draw draw{static_cast<std::int64_t>(pass.head_rows.size()) - 1, wanted.sampling, 0};
  if (wanted.sampling.temperature > 0) {
    const auto number = static_cast<std::uint64_t>(wanted.first_sample + sample);
    draw.u = RandomStream(seed_, Purpose::sampling, wanted.key, number << 32 | static_cast<std::uint64_t>(position))
                 .uniform();
  }
  pass.draws.push_back(draw);
}

void Scheduler::accept(const std::vector<Choice>& choices) {
  std::size_t at = 0;
  for (auto sequence = live_.begin(); sequence != live_.end(); ++at) {
    if (!take_token(*sequence, choices[at])) {
      ++sequence;
      continue;
    }
    promised_ -= own_slots(requests_[sequence->request]) - sequence->num_own;
    pool_.release(sequence->slots);
    finish(*sequence);
    sequence = live_.erase(sequence);
  }
  for (Started* started : prefilled_) {
    start(*started, choices, at);
    at += static_cast<std::size_t>(requests_[started->request].num_samples);
  }
  OSLER_CHECK(at == choices.size(), choices.size(), " tokens for ", at, " draws");
  let_in_samples();
}

/// First tokens of all samples of a prompt.
void Scheduler::start(Started& started, const std::vector<Choice>& choices, std::size_t first) {
  const GenerateRequest& request = requests_[started.request];
  for (std::int64_t i = 0; i < request.num_samples; ++i) {
    Sequence sequence;
    sequence.request = started.request;
    sequence.sample = i;
    sequence.length = started.length;
    if (take_token(sequence, choices[first + static_cast<std::size_t>(i)])) {
      finish(sequence);
    } else {
      started.waiting.push_back(std::move(sequence));
    }
  }
}

/// -> whether the sequence ends with it
bool Scheduler::take_token(Sequence& sequence, const Choice& choice) const {
  const GenerateRequest& request = requests_[sequence.request];
  if (!std::isfinite(choice.log_prob))
    throw NumericalError("a log-probability is not finite; the weights or the dtype do not serve for generation");
  if (choice.id == limits_.eos_id || choice.id == request.end_id) {
    sequence.result.finish = Finish::eos;
    return true;
  }
  sequence.next_token = choice.id;
  sequence.result.ids.push_back(choice.id);
  sequence.result.log_probs.push_back(choice.log_prob);
  if (ends_text(sequence.result.ids, request.stop, decode_)) {
    sequence.result.finish = Finish::stop;
    return true;
  }
  return static_cast<std::int64_t>(sequence.result.ids.size()) == request.max_new_tokens;
}

void Scheduler::finish(Sequence& sequence) {
  finished_(sequence.request, sequence.sample, std::move(sequence.result));
}

}  // namespace osler::generate
