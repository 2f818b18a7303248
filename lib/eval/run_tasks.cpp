#include "eval/run_tasks.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/log.hpp"
#include "eval/encode_pair.hpp"
#include "eval/prompt.hpp"

namespace osler::eval {

namespace {

constexpr double kProgressEvery_s = 5;  // often enough to see it live, seldom enough for a log file

struct ItemRef {
  std::size_t task = 0;
  std::size_t question = 0;
};

/// What travels between ranks: one row per choice.
struct ChoiceRow {
  std::uint64_t item = 0;
  double log_likelihood = 0;
  std::uint64_t is_greedy = 0;
};

/// Items done and the time left, judged by prompt bytes because the longest items come first.
class Progress {
 public:
  Progress(std::vector<std::size_t> sizes, std::size_t num_items, int num_ranks)
      : sizes_(std::move(sizes)),
        num_items_(num_items),
        num_ranks_(num_ranks),
        total_(std::accumulate(sizes_.begin(), sizes_.end(), std::size_t{1})) {}

  void item_done(std::size_t index) {
    ++num_done_;
    done_ += sizes_[index];
    const bool is_last = num_done_ == sizes_.size();
    if (!is_last && since_line_.elapsed_s() < kProgressEvery_s) return;
    since_line_.restart();
    const double elapsed = since_start_.elapsed_s();
    // Shares are alike: what this rank has done stands for all.
    const std::size_t all_done =
        is_last ? num_items_ : std::min(num_items_, num_done_ * static_cast<std::size_t>(num_ranks_));
    const double rate = static_cast<double>(all_done) / std::max(elapsed, 1e-6);
    const double left =
        elapsed * static_cast<double>(total_ - done_) / static_cast<double>(std::max<std::size_t>(done_, 1));
    log::info("evaluate: ", all_done, "/", num_items_, " items, ", std::round(rate * 10) / 10, " items/s, ",
              is_last ? "in " + duration_text(elapsed) : "ETA " + duration_text(left));
  }

 private:
  std::vector<std::size_t> sizes_;
  std::size_t num_items_;
  int num_ranks_;
  std::size_t total_;
  std::size_t num_done_ = 0;
  std::size_t done_ = 0;
  Stopwatch since_start_;
  Stopwatch since_line_;
};

/// Scores this rank's share; rows in order of item and choice.
std::string score_share(const std::vector<Task>& tasks, const std::vector<ItemRef>& items,
                        const std::vector<std::size_t>& prompt_sizes, model::Model& model,
                        const text::Tokenizer& tokenizer, std::int64_t batch_tokens, comm::Group& group,
                        c10::Device device) {
  const std::vector<std::size_t> mine = items_of_rank(prompt_sizes, group.rank(), group.size());
  std::vector<generate::ScoreRequest> requests;
  std::vector<std::size_t> sizes;
  for (const std::size_t i : mine) {
    const Task& task = tasks[items[i].task];
    const Question& question = task.questions[items[i].question];
    const std::vector<std::string> continuations = continuations_of(task, question);
    try {
      requests.push_back(encode_pair(tokenizer, prompt_of(task, items[i].question), continuations));
    } catch (const DataError& error) {
      throw DataError(task.path, ":", question.line, ": ", error.what());
    }
    sizes.push_back(prompt_sizes[i]);
  }
  Progress progress(std::move(sizes), items.size(), group.size());
  const auto scores = generate::score(model, requests, batch_tokens, device,
                                      [&](std::size_t request, const auto&) { progress.item_done(request); });
  std::vector<ChoiceRow> rows;
  for (std::size_t r = 0; r < mine.size(); ++r)
    for (const auto& choice : scores[r]) rows.push_back({mine[r], choice.log_likelihood, choice.is_greedy ? 1u : 0u});
  return std::string(reinterpret_cast<const char*>(rows.data()), rows.size() * sizeof(ChoiceRow));
}

}  // namespace

std::vector<std::size_t> items_of_rank(const std::vector<std::size_t>& prompt_sizes, int rank, int num_ranks) {
  std::vector<std::size_t> order(prompt_sizes.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return prompt_sizes[a] > prompt_sizes[b]; });
  const auto ranks = static_cast<std::size_t>(num_ranks);
  std::vector<std::size_t> mine;
  for (std::size_t i = 0; i < order.size(); ++i) {
    const std::size_t place = i % ranks;
    const bool is_backward = (i / ranks) % 2 == 1;
    if ((is_backward ? ranks - 1 - place : place) == static_cast<std::size_t>(rank)) mine.push_back(order[i]);
  }
  return mine;
}

TaskAnswers run_tasks(const std::vector<Task>& tasks, model::Model& model, const text::Tokenizer& tokenizer,
                      std::int64_t batch_tokens, comm::Group& group, c10::Device device) {
  std::vector<ItemRef> items;
  std::vector<std::size_t> prompt_sizes;
  TaskAnswers answers(tasks.size());
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    answers[t].resize(tasks[t].questions.size());
    for (std::size_t q = 0; q < tasks[t].questions.size(); ++q) {
      items.push_back({t, q});
      prompt_sizes.push_back(prompt_of(tasks[t], q).size());
    }
  }
  std::string share;
  comm::agree_after(
      group, [&] { share = score_share(tasks, items, prompt_sizes, model, tokenizer, batch_tokens, group, device); });

  for (const std::string& bytes : group.all_gather_bytes(share)) {
    OSLER_CHECK(bytes.size() % sizeof(ChoiceRow) == 0);
    for (std::size_t at = 0; at < bytes.size(); at += sizeof(ChoiceRow)) {
      ChoiceRow row;
      std::memcpy(&row, bytes.data() + at, sizeof(row));
      OSLER_CHECK(row.item < items.size());
      answers[items[row.item].task][items[row.item].question].push_back({row.log_likelihood, row.is_greedy != 0});
    }
  }
  for (std::size_t i = 0; i < items.size(); ++i) {
    const Question& question = tasks[items[i].task].questions[items[i].question];
    OSLER_CHECK(answers[items[i].task][items[i].question].size() == question.options.size(), "item ", i,
                " was not scored exactly once");
  }
  return answers;
}

}  // namespace osler::eval
