// The scheduler under a model that is a hash: a token is a function of the tokens it can see, read back through the
// slots. If a slot is lost, shared wrongly or freed too early, texts differ from those of sequences on their own.
#include "generate/scheduler.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "base/error.hpp"
#include "base/random.hpp"

namespace osler::generate {
namespace {

constexpr int kVocabulary = 97, kEos = 2;

struct Seen {
  std::int64_t position;
  int token;
};

int next_token(const std::vector<Seen>& seen, double u) {
  std::uint64_t hash = 1469598103934665603ULL + static_cast<std::uint64_t>(u * 1e9);
  for (const Seen& one : seen)
    hash = (hash ^ static_cast<std::uint64_t>(one.position * 1000 + one.token)) * 1099511628211ULL;
  return static_cast<int>((hash >> 20) % kVocabulary);
}

std::string decode(const std::vector<int>& ids) {
  std::string text;
  for (const int id : ids) text += static_cast<char>('a' + id % 26);
  return text;
}

double draw_of(const GenerateRequest& request, std::int64_t sample, std::int64_t position) {
  if (request.sampling.temperature == 0) return 0;
  const auto number = static_cast<std::uint64_t>(request.first_sample + sample);
  return RandomStream(5, Purpose::sampling, request.key, number << 32 | static_cast<std::uint64_t>(position)).uniform();
}

using Texts = std::map<std::pair<std::size_t, std::int64_t>, Generation>;

/// Each sample on its own, from the definition.
Texts by_definition(const std::vector<GenerateRequest>& requests, std::optional<std::int64_t> window) {
  Texts texts;
  for (std::size_t r = 0; r < requests.size(); ++r) {
    for (std::int64_t sample = 0; sample < requests[r].num_samples; ++sample) {
      std::vector<Seen> all;
      for (const int id : requests[r].prompt) all.push_back({static_cast<std::int64_t>(all.size()), id});
      Generation& text = texts[{r, sample}];
      for (std::int64_t i = 0; i < requests[r].max_new_tokens; ++i) {
        std::vector<Seen> seen = all;
        if (window && seen.size() > static_cast<std::size_t>(*window)) seen.erase(seen.begin(), seen.end() - *window);
        const int id = next_token(seen, draw_of(requests[r], sample, i));
        const bool ends = id == kEos || id == requests[r].end_id;
        text.finish = ends ? Finish::eos : Finish::length;
        if (ends) break;
        text.ids.push_back(id);
        all.push_back({static_cast<std::int64_t>(all.size()), id});
        if (!requests[r].stop.empty() && decode(text.ids).find(requests[r].stop[0]) != std::string::npos) {
          text.finish = Finish::stop;
          break;
        }
      }
    }
  }
  return texts;
}

struct Played {
  Texts texts;
  std::int64_t num_rows = 0, num_passes = 0, most_live = 0, most_rows = 0;
};

class Player {
 public:
  Player(const std::vector<GenerateRequest>& requests, std::int64_t budget, std::optional<std::int64_t> window)
      : window_(window) {
    std::int64_t num_cut = 0;
    auto prompts = plan_prompts(requests, 500, kVocabulary, num_cut);
    const std::int64_t slots = std::max(budget, slots_needed(requests, prompts, window));
    memory_.resize(static_cast<std::size_t>(slots));
    scheduler_.emplace(requests, std::move(prompts), 5, ScheduleLimits{budget, slots, window, kEos}, decode,
                       [this](std::size_t r, std::int64_t s, Generation g) {
                         EXPECT_TRUE(played_.texts.emplace(std::pair(r, s), std::move(g)).second) << "twice";
                       });
  }

  Played play() {
    while (scheduler_->has_work()) {
      const Pass pass = scheduler_->next_pass();
      scheduler_->accept(compute(pass));
      played_.num_rows += pass.rows.layout.num_rows;
      played_.most_rows = std::max(played_.most_rows, pass.rows.layout.num_rows);
      played_.most_live = std::max(played_.most_live, scheduler_->num_live());
      ++played_.num_passes;
    }
    EXPECT_EQ(scheduler_->pool().num_free(), static_cast<std::int64_t>(memory_.size())) << "slots were lost";
    return played_;
  }

 private:
  std::vector<Choice> compute(const Pass& pass) {
    const auto& layout = pass.rows.layout;
    std::vector<Seen> rows;
    for (std::size_t i = 0; i < pass.rows.tokens.size(); ++i)
      rows.push_back({pass.rows.positions[i], static_cast<int>(pass.rows.tokens[i])});
    for (std::size_t i = 0; i < layout.segments.size(); ++i) {
      const auto& kept = layout.cached[i].kept;
      const auto end = static_cast<std::size_t>(layout.segments[i].begin + layout.segments[i].length);
      for (std::size_t k = 0; k < kept.size(); ++k)
        memory_[static_cast<std::size_t>(kept[k])] = rows[end - kept.size() + k];
    }
    std::map<std::int64_t, std::vector<Seen>> seen_of;
    for (std::size_t i = 0; i < layout.segments.size(); ++i) {
      std::vector<Seen> seen;
      for (const std::int32_t slot : layout.cached[i].seen) seen.push_back(memory_[static_cast<std::size_t>(slot)]);
      const auto begin = rows.begin() + layout.segments[i].begin;
      seen.insert(seen.end(), begin, begin + layout.segments[i].length);
      if (window_ && seen.size() > static_cast<std::size_t>(*window_)) seen.erase(seen.begin(), seen.end() - *window_);
      seen_of[layout.segments[i].begin + layout.segments[i].length - 1] = seen;
    }
    std::vector<Choice> choices;
    for (const Draw& draw : pass.draws)
      choices.push_back({next_token(seen_of.at(pass.head_rows[static_cast<std::size_t>(draw.row)]), draw.u), -1.0f});
    return choices;
  }

  std::optional<std::int64_t> window_;
  std::vector<Seen> memory_;
  std::optional<Scheduler> scheduler_;
  Played played_;
};

std::vector<GenerateRequest> mixed_requests() {
  RandomStream stream(11, Purpose::test);
  std::vector<int> header;
  for (int i = 0; i < 60; ++i) header.push_back(static_cast<int>(3 + stream.below(90)));
  std::vector<GenerateRequest> requests;
  for (int r = 0; r < 40; ++r) {
    GenerateRequest request;
    if (r % 2 == 0) request.prompt.assign(header.begin(), header.begin() + 35 + static_cast<int>(stream.below(26)));
    const std::uint64_t own = 1 + stream.below(50);
    for (std::uint64_t i = 0; i < own; ++i) request.prompt.push_back(static_cast<int>(3 + stream.below(90)));
    request.max_new_tokens = static_cast<std::int64_t>(stream.below(40));
    request.num_samples = static_cast<std::int64_t>(stream.below(4));
    request.sampling.temperature = r % 3 == 0 ? 0.7 : 0;
    request.key = static_cast<std::uint64_t>(r);
    request.first_sample = r % 5;
    if (r % 4 == 0) request.stop = {std::string(1, static_cast<char>('a' + r % 26))};
    if (r % 5 == 0) request.end_id = static_cast<int>(r % 26);
    requests.push_back(request);
  }
  requests[9].prompt = requests[8].prompt;  // the same twice
  requests[10].prompt = requests[8].prompt;
  return requests;
}

TEST(Scheduler, GivesEveryItemWhatItGetsAlone) {
  const auto requests = mixed_requests();
  for (const std::optional<std::int64_t> window : {std::optional<std::int64_t>(), std::optional<std::int64_t>(1),
                                                   std::optional<std::int64_t>(9), std::optional<std::int64_t>(70)}) {
    const Texts wanted = by_definition(requests, window);
    for (const std::int64_t budget : {1, 100, 333, 5000}) {
      const Played played = Player(requests, budget, window).play();
      std::size_t num_wanted = 0;
      for (const auto& [key, text] : wanted) {
        if (requests[key.first].max_new_tokens == 0) continue;
        ++num_wanted;
        ASSERT_TRUE(played.texts.contains(key)) << key.first;
        EXPECT_EQ(played.texts.at(key).ids, text.ids)
            << "request " << key.first << " window " << window.value_or(0) << " budget " << budget;
        EXPECT_EQ(played.texts.at(key).finish, text.finish);
      }
      EXPECT_EQ(played.texts.size(), num_wanted);
    }
  }
}

TEST(Scheduler, KeepsToItsBudget) {
  const auto requests = mixed_requests();
  std::int64_t longest = 0;
  for (const auto& request : requests) longest = std::max(longest, static_cast<std::int64_t>(request.prompt.size()));
  EXPECT_LE(Player(requests, 200, std::nullopt).play().most_rows, 200 + longest);
  const Played narrow = Player(requests, 200, std::nullopt).play(), wide = Player(requests, 5000, std::nullopt).play();
  EXPECT_LT(narrow.most_live, wide.most_live);
  EXPECT_LT(wide.num_passes, narrow.num_passes);
}

std::vector<GenerateRequest> alike(int count, int common, int own) {
  RandomStream stream(3, Purpose::test);
  std::vector<GenerateRequest> requests(static_cast<std::size_t>(count));
  for (auto& request : requests) {
    for (int i = 0; i < common; ++i) request.prompt.push_back(3 + i % 90);
    for (int i = 0; i < own; ++i) request.prompt.push_back(static_cast<int>(3 + stream.below(90)));
    request.max_new_tokens = 1;
  }
  return requests;
}

TEST(Scheduler, ComputesWhatPromptsShareOnce) {
  const Played played = Player(alike(20, 200, 10), 5000, std::nullopt).play();
  EXPECT_GE(played.num_rows, 200 + 20 * 10 - 20 * 3);  // own parts may begin alike by chance
  EXPECT_LE(played.num_rows, 200 + 20 * 10);
  EXPECT_EQ(played.num_passes, 2);  // the first, then all others beside each other
}

TEST(Scheduler, SamplesShareTheirPrompt) {
  auto requests = alike(1, 200, 0);
  requests[0].num_samples = 5;
  requests[0].max_new_tokens = 4;
  requests[0].sampling.temperature = 1;
  const Played played = Player(requests, 5000, std::nullopt).play();
  EXPECT_LE(played.num_rows, 200 + 5 * 3);
  // Room for the prompt and one sample: they come one after the other, and the prompt is not computed again.
  const Played narrow = Player(requests, 1, std::nullopt).play();
  EXPECT_EQ(narrow.num_rows, played.num_rows);
  EXPECT_EQ(narrow.most_live, 1);
  for (const auto& [key, text] : played.texts) EXPECT_EQ(narrow.texts.at(key).ids, text.ids);
}

TEST(Scheduler, AWindowBoundsWhatASequenceHolds) {
  auto requests = alike(1, 200, 0);
  requests[0].max_new_tokens = 300;
  std::int64_t num_cut = 0;
  EXPECT_EQ(slots_needed(requests, plan_prompts(requests, 1000, kVocabulary, num_cut), 16), 15 + 16);
  EXPECT_EQ(slots_needed(requests, plan_prompts(requests, 1000, kVocabulary, num_cut), std::nullopt), 200 + 299);
}

TEST(PlanPrompts, CutsFromTheLeftAndRefusesWhatCannotBe) {
  std::int64_t num_cut = 0;
  GenerateRequest request{.prompt = {5, 6, 7, 8}, .max_new_tokens = 3};
  const auto prompts = plan_prompts({request}, 5, 10, num_cut);
  EXPECT_EQ(prompts.at(0).ids, (std::vector<int>{7, 8}));
  EXPECT_EQ(num_cut, 1);
  request.max_new_tokens = 5;
  EXPECT_THROW(plan_prompts({request}, 5, 10, num_cut), DataError);
  request.max_new_tokens = 1;
  EXPECT_THROW(plan_prompts({request}, 5, 8, num_cut), DataError);  // id 8 of 8
  EXPECT_THROW(plan_prompts({{.prompt = {}, .max_new_tokens = 1}}, 5, 8, num_cut), InternalError);
}

TEST(SlotPool, CountsHolders) {
  SlotPool pool(3);
  const std::vector<std::int32_t> slots{pool.take(), pool.take()};
  pool.share(slots);
  pool.release(slots);
  EXPECT_EQ(pool.num_free(), 1);
  pool.release(slots);
  EXPECT_EQ(pool.num_free(), 3);
  EXPECT_THROW(pool.release(slots), InternalError);
  for (int i = 0; i < 3; ++i) pool.take();
  EXPECT_THROW(pool.take(), InternalError);
}

}  // namespace
}  // namespace osler::generate
