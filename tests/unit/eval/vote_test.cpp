// Votes worked out by hand: majorities, ties, letters mapped back; and the option orders behind them.
#include "eval/vote.hpp"

#include <gtest/gtest.h>

#include <numeric>
#include <set>

#include "eval/prompt_library.hpp"

namespace osler::eval {
namespace {

Question four_options() {
  return {.id = "q", .text = "Which?", .options = {"w", "x", "y", "z"}, .gold = 2};
}

struct Ballot {
  OptionOrder order;
  const char* response;
  double log_prob;
};

struct Case {
  const char* what;
  std::vector<Ballot> ballots;
  char winner;  ///< letter in the file's order, '-' for none
  std::vector<std::int64_t> num_votes;
  bool is_tied;
};

const OptionOrder kSame = {0, 1, 2, 3};
const OptionOrder kBack = {3, 2, 1, 0};  // A shows z, B shows y, C shows x, D shows w
const OptionOrder kRoll = {1, 2, 3, 0};  // A shows x, B shows y, C shows z, D shows w

TEST(Vote, ByHand) {
  const std::vector<Case> cases = {
      {"all agree", {{kSame, "A", -1}, {kSame, "A", -1}, {kSame, "A", -1}}, 'A', {3, 0, 0, 0}, false},
      {"two of three", {{kSame, "A", -1}, {kSame, "B", -1}, {kSame, "B", -9}}, 'B', {1, 2, 0, 0}, false},
      {"the last is no majority", {{kSame, "C", -1}, {kSame, "C", -1}, {kSame, "D", 0}}, 'C', {0, 0, 2, 1}, false},
      {"one vote", {{kSame, "D", -1}}, 'D', {0, 0, 0, 1}, false},
      {"none can be read", {{kSame, "It depends.", 0}, {kSame, "A or B", 0}}, '-', {0, 0, 0, 0}, false},
      {"unparsed counts for nothing", {{kSame, "?", 0}, {kSame, "?", 0}, {kSame, "B", -5}}, 'B', {0, 1, 0, 0}, false},
      {"tie: the likelier letter", {{kSame, "A", -2}, {kSame, "B", -1}}, 'B', {1, 1, 0, 0}, true},
      {"tie: sums decide, not the best one",
       {{kSame, "A", -0.1}, {kSame, "A", -3}, {kSame, "C", -1}, {kSame, "C", -1}},
       'C',
       {2, 0, 2, 0},
       true},
      {"tie in all: the first in the file",
       {{kSame, "D", -1}, {kSame, "B", -1}, {kSame, "C", -1}},
       'B',
       {0, 1, 1, 1},
       true},
      {"tie of three, one likelier", {{kSame, "A", -1}, {kSame, "B", -1}, {kSame, "D", -0.5}}, 'D', {1, 1, 0, 1}, true},
      {"likelier but fewer votes loses",
       {{kSame, "A", 0}, {kSame, "B", -9}, {kSame, "B", -9}},
       'B',
       {1, 2, 0, 0},
       false},
      {"mapped back", {{kBack, "A", -1}}, 'D', {0, 0, 0, 1}, false},
      {"the same option under two letters", {{kSame, "B", -1}, {kBack, "C", -1}}, 'B', {0, 2, 0, 0}, false},
      {"the same letter is two options", {{kSame, "A", -1}, {kBack, "A", -0.5}}, 'D', {1, 0, 0, 1}, true},
      {"three orders, one option", {{kSame, "C", -1}, {kBack, "B", -1}, {kRoll, "B", -1}}, 'C', {0, 0, 3, 0}, false},
      {"rolled", {{kRoll, "A", -1}, {kRoll, "D", -2}, {kSame, "B", -3}}, 'B', {1, 2, 0, 0}, false},
      {"rolled tie goes to the file's order", {{kRoll, "C", -1}, {kRoll, "A", -1}}, 'B', {0, 1, 0, 1}, true},
      {"an option's text is read as shown", {{kBack, "Answer: z", -1}}, 'D', {0, 0, 0, 1}, false},
      {"a letter with the text that it shows", {{kBack, "B. y", -1}}, 'C', {0, 0, 1, 0}, false},
      {"a letter with another option's text", {{kBack, "B. x", -1}}, '-', {0, 0, 0, 0}, false},
      {"five orders, three to two",
       {{kSame, "A", -1}, {kBack, "D", -1}, {kRoll, "D", -1}, {kSame, "B", 0}, {kRoll, "A", 0}},
       'A',
       {3, 2, 0, 0},
       false},
      {"five orders, two unparsed, tie",
       {{kSame, "A", -3}, {kBack, "A", -2}, {kRoll, "maybe", 0}, {kSame, "", 0}, {kSame, "E", 0}},
       'D',
       {1, 0, 0, 1},
       true},
  };
  ASSERT_GE(cases.size(), 20u);
  Task task;
  task.prompt = load_prompt("cot", FileFormat::generic);
  const Question question = four_options();
  for (const Case& c : cases) {
    std::vector<Vote> votes;
    for (const Ballot& ballot : c.ballots) {
      Vote vote{.order = ballot.order,
                .response = ballot.response,
                .finish = "eos",
                .shown = {},
                .option = {},
                .log_prob = ballot.log_prob};
      read_vote(task, question, vote);
      votes.push_back(vote);
    }
    const Election election = elect(votes, 4);
    EXPECT_EQ(election.winner ? letter_of(*election.winner)[0] : '-', c.winner) << c.what;
    EXPECT_EQ(election.num_votes, c.num_votes) << c.what;
    EXPECT_EQ(election.is_tied, c.is_tied) << c.what;
  }
}

TEST(Vote, PubMedQaVotesByWordWhateverTheOrder) {
  Task task;
  task.format = FileFormat::pubmedqa;
  const Question question{.text = "Does it?", .options = {"yes", "no", "maybe"}, .gold = 0};
  Vote vote{.order = {2, 0, 1}, .response = "Answer: yes", .finish = {}, .shown = {}, .option = {}, .log_prob = 0};
  read_vote(task, question, vote);
  EXPECT_EQ(vote.shown, 1);
  EXPECT_EQ(vote.option, 0);
}

TEST(OptionOrders, FirstIsTheFilesOthersAreKeyedAndDiffer) {
  const Question question = four_options();
  const auto orders = option_orders(7, question, 24);
  EXPECT_EQ(orders[0], kSame);
  EXPECT_EQ(std::set<OptionOrder>(orders.begin(), orders.end()).size(), 24u);
  EXPECT_EQ(option_orders(7, question, 5), std::vector<OptionOrder>(orders.begin(), orders.begin() + 5));
  EXPECT_NE(option_orders(8, question, 5), option_orders(7, question, 5));
  Question elsewhere = question;
  elsewhere.id = "another number in another file";
  EXPECT_EQ(option_orders(7, elsewhere, 5), option_orders(7, question, 5));
  elsewhere.options[0] = "another option";
  EXPECT_NE(option_orders(7, elsewhere, 24), orders);
  Question two{.text = "Which?", .options = {"x", "y"}};
  EXPECT_EQ(option_orders(7, two, 5).size(), 5u);  // more orders than there are: some come again
  // Over many questions every option stands at every place about equally often: 600 * 4 draws, 150 expected, sd 10.6.
  std::vector<std::vector<int>> counts(4, std::vector<int>(4));
  for (int i = 0; i < 600; ++i) {
    Question each = question;
    each.text = std::to_string(i);
    const OptionOrder order = option_orders(7, each, 2)[1];
    for (std::size_t place = 0; place < 4; ++place) ++counts[place][static_cast<std::size_t>(order[place])];
  }
  // The identity is never drawn again: a fixed place holds its own option in (6 - 1) / 23 of the orders, 130.
  for (std::size_t place = 0; place < 4; ++place)
    for (std::size_t option = 0; option < 4; ++option)
      EXPECT_NEAR(counts[place][option], place == option ? 600 * 5.0 / 23 : 600 * 6.0 / 23, 55) << place << option;
}

}  // namespace
}  // namespace osler::eval
