#include "eval/vote.hpp"

#include <algorithm>
#include <numeric>
#include <set>

#include "base/error.hpp"
#include "base/random.hpp"
#include "base/sha256.hpp"

namespace osler::eval {

Extraction read_vote(const Task& task, const Question& question, Vote& vote) {
  AnswerKey key{answers_are_words(task), {}};
  for (std::size_t i = 0; i < question.options.size(); ++i)
    key.options.push_back(question.options[vote.order.empty() ? i : static_cast<std::size_t>(vote.order[i])]);
  const Extraction found = extract_answer(vote.response, key);
  vote.shown = found.position;
  vote.option.reset();
  if (vote.shown) vote.option = vote.order.empty() ? *vote.shown : vote.order[static_cast<std::size_t>(*vote.shown)];
  return found;
}

Election elect(const std::vector<Vote>& votes, std::size_t num_options) {
  Election election;
  election.num_votes.assign(num_options, 0);
  election.log_probs.assign(num_options, 0);
  for (const Vote& vote : votes) {
    if (!vote.option) continue;
    const auto option = static_cast<std::size_t>(*vote.option);
    OSLER_CHECK(option < num_options);
    ++election.num_votes[option];
    election.log_probs[option] += vote.log_prob;
  }
  const std::int64_t most = *std::max_element(election.num_votes.begin(), election.num_votes.end());
  if (most == 0) return election;
  election.is_tied = std::count(election.num_votes.begin(), election.num_votes.end(), most) > 1;
  for (std::size_t i = 0; i < num_options; ++i) {
    if (election.num_votes[i] != most) continue;
    if (!election.winner || election.log_probs[i] > election.log_probs[static_cast<std::size_t>(*election.winner)])
      election.winner = static_cast<std::int64_t>(i);
  }
  return election;
}

std::uint64_t item_key(const Question& question) {
  // The lengths keep ("ab", "c") apart from ("a", "bc").
  std::string text = std::to_string(question.text.size()) + ":" + question.text;
  for (const std::string& option : question.options) text += std::to_string(option.size()) + ":" + option;
  return std::stoull(sha256_hex(text).substr(0, 16), nullptr, 16);
}

std::vector<OptionOrder> option_orders(std::uint64_t seed, const Question& question, std::int64_t num_orders) {
  OptionOrder identity(question.options.size());
  std::iota(identity.begin(), identity.end(), std::int64_t{0});
  std::size_t num_possible = 1;
  for (std::size_t i = 2; i <= identity.size() && num_possible < static_cast<std::size_t>(num_orders); ++i)
    num_possible *= i;
  std::vector<OptionOrder> orders{identity};
  std::set<OptionOrder> seen{identity};
  RandomStream random(seed, Purpose::option_order, item_key(question));
  while (orders.size() < static_cast<std::size_t>(num_orders)) {
    OptionOrder order = identity;
    for (std::size_t i = order.size() - 1; i > 0; --i) std::swap(order[i], order[random.below(i + 1)]);
    if (!seen.insert(order).second && seen.size() < num_possible) continue;
    orders.push_back(std::move(order));
  }
  return orders;
}

}  // namespace osler::eval
