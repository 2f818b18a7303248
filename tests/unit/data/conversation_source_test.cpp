#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <random>

#include "base/error.hpp"
#include "base/publish.hpp"
#include "data/mixture.hpp"
#include "support/temporary_folder.hpp"

namespace osler::data {
namespace {

using testing::HasSubstr;
using tests::message_of;
using tests::TemporaryFolder;

struct Chat {
  std::vector<int> ids;
  std::vector<char> supervised;
};

/// Questions of 2 to 10 tokens, answers of 2 to 20; ids tell conversations apart.
std::vector<Chat> make_chats(unsigned seed, int count) {
  std::mt19937 random(seed);
  std::vector<Chat> chats;
  for (int i = 0; i < count; ++i) {
    const auto question = 2 + random() % 9, answer = 2 + random() % 19;
    Chat& chat = chats.emplace_back();
    for (unsigned t = 0; t < question + answer; ++t) {
      chat.ids.push_back(t == 0 ? 1 : static_cast<int>(3 + (static_cast<unsigned>(i) * 7 + t * 13) % 900));
      chat.supervised.push_back(t >= question ? 1 : 0);
    }
  }
  return chats;
}

void write_shard(const std::string& path, const std::vector<Chat>& chats, const std::string& chat_template = "plain") {
  ShardInfo info{.source = "s",
                 .tokenizer_sha256 = std::string(64, 'a'),
                 .vocab_size = 1000,
                 .bos_id = 1,
                 .eos_id = 2,
                 .chat_template = chat_template};
  TokenShardWriter writer(path, info);
  for (const Chat& chat : chats)
    writer.add_document(chat.ids, chat_template.empty() ? std::vector<char>() : chat.supervised);
  writer.finish();
}

class ConversationsTest : public testing::Test {
 protected:
  void SetUp() override {
    chats = make_chats(1, 300);
    const auto middle = chats.begin() + 130;
    std::filesystem::create_directories(folder / "c");
    write_shard(folder / "c/shard_00000.h5", {chats.begin(), middle});
    write_shard(folder / "c/shard_00001.h5", {middle, chats.end()});
  }
  TokenSource open(std::int64_t length, config::TooLong too_long = config::TooLong::drop, std::uint64_t seed = 3) {
    return {"c", folder / "c", PackingOptions{length, too_long, seed, 0}};
  }
  static Batch row_of(const TokenSource& source, std::int64_t length, std::int64_t window) {
    Batch batch;
    const auto options = at::TensorOptions().dtype(at::kLong);
    for (at::Tensor* part : {&batch.tokens_BT, &batch.positions_BT, &batch.segments_BT})
      *part = at::zeros({1, length}, options);
    batch.labels_BT = at::full({1, length}, -100, options);
    source.fill(batch, 0, window, false);
    return batch;
  }
  /// ids -> times seen, each segment checked against the conversation that it must be.
  std::map<std::vector<int>, int> take_apart(const TokenSource& source, std::int64_t length);

  TemporaryFolder folder;
  std::vector<Chat> chats;
};

std::map<std::vector<int>, int> ConversationsTest::take_apart(const TokenSource& source, std::int64_t length) {
  std::map<std::vector<int>, std::vector<char>> known;
  for (const Chat& chat : chats) {
    const auto kept = std::min<std::size_t>(chat.ids.size(), static_cast<std::size_t>(length));
    known[{chat.ids.begin(), chat.ids.begin() + static_cast<std::ptrdiff_t>(kept)}] = chat.supervised;
  }
  std::map<std::vector<int>, int> seen;
  for (std::int64_t window = 0; window < source.num_windows(); ++window) {
    const Batch batch = row_of(source, length, window);
    const auto value = [](const at::Tensor& tensor, std::int64_t t) { return tensor[0][t].item<std::int64_t>(); };
    for (std::int64_t t = 0; t < batch.lengths_B[0];) {
      std::vector<int> ids;
      const std::int64_t begin = t;
      for (; t < batch.lengths_B[0] && value(batch.segments_BT, t) == value(batch.segments_BT, begin); ++t) {
        EXPECT_EQ(value(batch.positions_BT, t), t - begin);
        ids.push_back(static_cast<int>(value(batch.tokens_BT, t)));
      }
      EXPECT_TRUE(known.contains(ids)) << "a conversation that was never written, or in pieces";
      const std::vector<char>& supervised = known[ids];
      for (std::int64_t i = begin; i < t; ++i) {
        const auto next = static_cast<std::size_t>(i - begin) + 1;
        const bool learnt = i + 1 < t && supervised.at(next) != 0;
        EXPECT_EQ(value(batch.labels_BT, i), learnt ? ids[next] : -100);
      }
      ++seen[ids];
    }
    for (std::int64_t t = batch.lengths_B[0]; t < length; ++t) {
      EXPECT_EQ(value(batch.labels_BT, t), -100);
      EXPECT_NE(value(batch.segments_BT, t), value(batch.segments_BT, batch.lengths_B[0] - 1));
    }
  }
  return seen;
}

TEST_F(ConversationsTest, StandWholeInOneWindowOnceAnEpoch) {
  const TokenSource source = open(64);
  std::map<std::vector<int>, int> expected;
  for (const Chat& chat : chats) ++expected[chat.ids];
  EXPECT_EQ(take_apart(source, 64), expected);
  ASSERT_TRUE(source.packing());
  EXPECT_EQ(source.packing()->num_packed, 300);
  EXPECT_EQ(source.packing()->num_dropped + source.packing()->num_cut + source.packing()->num_unanswered, 0);
  EXPECT_GT(source.packing()->fill, 0.95);
  EXPECT_DOUBLE_EQ(source.packing()->fill, source.num_tokens() / (64.0 * source.num_windows()));
}

TEST_F(ConversationsTest, TooLongOnesAreDroppedOrCutAndCounted) {
  std::int64_t long_ones = 0, unanswered = 0;
  for (const Chat& chat : chats) {
    if (chat.ids.size() <= 8) continue;
    ++long_ones;
    if (std::count(chat.supervised.begin(), chat.supervised.begin() + 8, 1) == 0) ++unanswered;
  }
  ASSERT_GT(unanswered, 0);
  const TokenSource dropped = open(8), cut = open(8, config::TooLong::cut);
  EXPECT_EQ(dropped.packing()->num_dropped, long_ones);
  EXPECT_EQ(dropped.packing()->num_packed, 300 - long_ones);
  EXPECT_EQ(cut.packing()->num_cut, long_ones - unanswered);
  EXPECT_EQ(cut.packing()->num_unanswered, unanswered);
  EXPECT_EQ(cut.packing()->num_packed, 300 - unanswered);
  take_apart(cut, 8);
  EXPECT_THAT(message_of<DataError>([&] { open(3); }), HasSubstr("data.too_long=cut"));
}

TEST_F(ConversationsTest, PackingFollowsItsKey) {
  const auto first_rows = [&](std::uint64_t seed) {
    return row_of(open(64, config::TooLong::drop, seed), 64, 0).tokens_BT;
  };
  EXPECT_TRUE(at::equal(first_rows(3), first_rows(3)));
  EXPECT_FALSE(at::equal(first_rows(3), first_rows(4)));
}

TEST_F(ConversationsTest, AWeightIsHowOftenAnEpochShowsTheSource) {
  write_shard(folder / "other.h5", make_chats(2, 100));
  config::DataOptions options;
  options.source = {{"c", 1, folder / "c"}, {"o", 0.5, folder / "other.h5"}};
  options.sequence_length = 64;
  options.global_batch = 4;
  const Mixture mixture(options, 7, Windows::conversations);
  const auto& sources = mixture.sources();
  const double sequences = 2 * (sources[0].num_windows() + 0.5 * sources[1].num_windows());
  const std::int64_t steps = mixture.steps_of_epochs(2);
  EXPECT_EQ(steps, static_cast<std::int64_t>(std::ceil(sequences / 4)));
  const auto shown = mixture.ledger_before(steps);
  EXPECT_NEAR(shown[0], 2.0 * sources[0].num_windows(), 4);
  EXPECT_NEAR(shown[1], 1.0 * sources[1].num_windows(), 4);
  config::DataOptions cut = options;
  cut.too_long = config::TooLong::cut;
  EXPECT_NE(Mixture(cut, 7, Windows::conversations).fingerprint(), mixture.fingerprint());
}

TEST_F(ConversationsTest, TheWrongKindOfShardIsRefused) {
  write_shard(folder / "text.h5", chats, "");
  write_shard(folder / "c/shard_00002.h5", chats, "chatml");
  EXPECT_THAT(message_of<DataError>([&] { TokenSource("t", folder / "text.h5", PackingOptions{64}); }),
              HasSubstr("without a loss mask"));
  EXPECT_THAT(message_of<DataError>([&] { TokenSource("t", folder / "c/shard_00000.h5", 64); }),
              HasSubstr("holds conversations (template plain)"));
  EXPECT_THAT(message_of<DataError>([&] { open(64); }), HasSubstr("different templates"));
}

TEST_F(ConversationsTest, ADamagedMaskIsFound) {
  const std::string path = folder / "c/shard_00000.h5";
  const TokenShard shard(path);
  EXPECT_NO_THROW(shard.verify());
  EXPECT_EQ(shard.info().chat_template, "plain");
  std::string bytes = read_file(path);
  const std::string mask(reinterpret_cast<const char*>(shard.loss_mask()),
                         static_cast<std::size_t>(shard.info().num_tokens));
  const auto at = bytes.find(mask);
  ASSERT_NE(at, std::string::npos);
  bytes[at] = bytes[at] == 0 ? 1 : 0;
  folder.write("damaged.h5", bytes);
  EXPECT_THAT(message_of<DataError>([&] { TokenShard(folder / "damaged.h5").verify(); }), HasSubstr("loss_mask"));
}

}  // namespace
}  // namespace osler::data
