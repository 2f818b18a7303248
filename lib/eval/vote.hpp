// Answers that vote: cot-sc's samples, MedPrompt's option orders. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "eval/extract.hpp"
#include "eval/prompt.hpp"

namespace osler::eval {

struct Vote {
  OptionOrder order;  ///< as shown; empty: as in the file
  std::string response;
  std::string finish;                  ///< "eos", "stop", "length"; "" for a recorded response
  std::optional<std::int64_t> shown;   ///< position read from the response; none: unparsed
  std::optional<std::int64_t> option;  ///< the same, mapped back to the file's order
  double log_prob = 0;                 ///< of what names the answer, in nats; 0 when unparsed or unknown
};

/// Reads `vote.response` by the rules of extract.hpp and sets shown and option. Returns what was found.
Extraction read_vote(const Task& task, const Question& question, Vote& vote);

struct Election {
  std::optional<std::int64_t> winner;   ///< index in the file's order; none when no vote could be read
  std::vector<std::int64_t> num_votes;  ///< by option
  std::vector<double> log_probs;        ///< by option, summed over its votes
  bool is_tied = false;                 ///< several options had the most votes
};

/// The option with most votes; of equals the one with the higher summed log-probability, then the lowest index in the
/// file's order. Unparsed votes count for nothing.
Election elect(const std::vector<Vote>& votes, std::size_t num_options);

/// Key of an item's draws: its text and options, wherever it stands.
std::uint64_t item_key(const Question& question);

/// `num_orders` orders of the options: the first as in the file, the others keyed permutations, all different as long
/// as there are enough.
std::vector<OptionOrder> option_orders(std::uint64_t seed, const Question& question, std::int64_t num_orders);

}  // namespace osler::eval
