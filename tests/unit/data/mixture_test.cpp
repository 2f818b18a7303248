#include "data/mixture.hpp"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <random>
#include <set>

#include "base/error.hpp"
#include "data/share_schedule.hpp"
#include "support/temporary_folder.hpp"

namespace osler::data {
namespace {

using testing::HasSubstr;
using tests::message_of;
using tests::TemporaryFolder;

using Documents = std::vector<std::vector<int>>;

Documents random_documents(unsigned seed, int count, int max_length = 20) {
  std::mt19937 random(seed);
  Documents documents;
  for (int d = 0; d < count; ++d) {
    std::vector<int> ids = {1};
    const auto length = random() % static_cast<unsigned>(max_length);
    for (unsigned i = 0; i < length; ++i) ids.push_back(static_cast<int>(3 + random() % 900));
    ids.push_back(2);
    documents.push_back(ids);
  }
  return documents;
}

void write_shard(const std::string& path, const Documents& documents, char tokenizer = 'a',
                 const std::string& source = "s") {
  ShardInfo info;
  info.source = source;
  info.tokenizer_sha256 = std::string(64, tokenizer);
  info.vocab_size = 1000;
  info.bos_id = 1;
  info.eos_id = 2;
  TokenShardWriter writer(path, info);
  for (const auto& document : documents) writer.add_document(document);
  writer.finish();
}

/// Two sources, the first in two shards.
class MixtureTest : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(folder / "general");
    first_ = random_documents(1, 30);
    second_ = random_documents(2, 25);
    write_shard(folder / "general/shard_00000.h5", first_);
    write_shard(folder / "general/shard_00001.h5", second_);
    write_shard(folder / "clinical.h5", random_documents(3, 40));
    options.source = {{"general", 0.3, folder / "general"}, {"clinical", 0.7, folder / "clinical.h5"}};
    options.sequence_length = 8;
    options.global_batch = 12;
    options.micro_batch = 2;
  }

  TemporaryFolder folder;
  config::DataOptions options;
  Documents first_;
  Documents second_;
};

TEST(ShareSchedule, StaysWithinOneOfEveryShare) {
  const std::vector<std::vector<double>> cases = {{1},
                                                  {1, 1},
                                                  {0.7, 0.3},
                                                  {0.01, 0.99},
                                                  {5, 3, 2},
                                                  {1e-6, 1},
                                                  {0.123456789, 1},
                                                  {1, 1, 1, 1, 1, 1},
                                                  {0.6, 0.1, 0.1, 0.1, 0.1},
                                                  {3.7, 1e-3, 2.2, 0.5, 9},
                                                  {std::sqrt(2.0), std::exp(1.0), 1.0 / 3}};
  for (const std::vector<double>& weights : cases) {
    double sum = 0;
    for (const double weight : weights) sum += weight;
    const ShareSchedule schedule(weights);
    const std::int64_t length = 20'000;
    const std::vector<std::int32_t> choices = schedule.choices(0, length);
    std::vector<std::int64_t> counts(weights.size());
    for (std::int64_t n = 0; n < length; ++n) {
      ++counts[static_cast<std::size_t>(choices[static_cast<std::size_t>(n)])];
      for (std::size_t s = 0; s < weights.size(); ++s) {
        ASSERT_LT(std::abs(static_cast<double>(counts[s]) - weights[s] / sum * static_cast<double>(n + 1)), 1.0)
            << "source " << s << " of " << weights.size() << " after " << n + 1;
      }
    }
    EXPECT_EQ(schedule.counts_before(length), counts);
  }
  EXPECT_THROW(ShareSchedule({1, 0}), ConfigError);
  EXPECT_THROW(ShareSchedule({1, -1}), ConfigError);
  EXPECT_THROW(ShareSchedule({1, std::nan("")}), ConfigError);
  EXPECT_THROW(ShareSchedule({}), ConfigError);
}

TEST(ShareSchedule, AnySequenceOfQuestionsGetsTheSameAnswers) {
  for (const std::vector<double>& weights : {std::vector<double>{0.7, 0.3}, {3, 5, 7}, {std::sqrt(2.0), 1, 0.1}}) {
    const ShareSchedule straight(weights);
    const std::vector<std::int32_t> all = straight.choices(0, 3000);
    const ShareSchedule jumping(weights);
    std::mt19937 random(5);
    for (int i = 0; i < 200; ++i) {
      const std::int64_t n = random() % 2900;
      const std::int64_t count = random() % 100;
      const std::vector<std::int32_t> part(all.begin() + n, all.begin() + n + count);
      ASSERT_EQ(jumping.choices(n, count), part);
    }
  }
  // Far ahead: whole periods are jumped over.
  const ShareSchedule decimal({0.65, 0.35});
  EXPECT_EQ(decimal.counts_before(10'000'000'000), (std::vector<std::int64_t>{6'500'000'000, 3'500'000'000}));
}

/// Labels, segments and positions against the plain definition, over shard and document edges.
TEST_F(MixtureTest, WindowsFollowTheStream) {
  struct Token {
    int id;
    bool opens;
  };
  std::vector<Token> stream;
  for (const Documents* documents : {&first_, &second_}) {
    for (const auto& document : *documents) {
      for (std::size_t i = 0; i < document.size(); ++i) stream.push_back({document[i], i == 0});
    }
  }
  const TokenSource source("general", folder / "general", 8);
  ASSERT_EQ(source.num_tokens(), static_cast<std::int64_t>(stream.size()));
  EXPECT_EQ(source.num_windows(), (source.num_tokens() - 1) / 8);
  for (const bool cross_document : {false, true}) {
    for (std::int64_t window = 0; window < source.num_windows(); ++window) {
      Batch batch;
      for (at::Tensor* tensor : {&batch.tokens_BT, &batch.labels_BT, &batch.positions_BT, &batch.segments_BT})
        *tensor = at::zeros({2, 8}, at::kLong);
      source.fill(batch, 1, window, cross_document);
      std::int64_t segment = 0;
      std::int64_t position = 0;
      std::int64_t supervised = 0;
      for (std::int64_t t = 0; t < 8; ++t) {
        const Token& token = stream[static_cast<std::size_t>(window * 8 + t)];
        const Token& next = stream[static_cast<std::size_t>(window * 8 + t + 1)];
        if (t > 0 && token.opens && !cross_document) {
          ++segment;
          position = 0;
        }
        const bool edge = next.opens && !cross_document;
        supervised += edge ? 0 : 1;
        ASSERT_EQ(batch.tokens_BT[1][t].item<std::int64_t>(), token.id);
        ASSERT_EQ(batch.labels_BT[1][t].item<std::int64_t>(), edge ? -100 : next.id);
        ASSERT_EQ(batch.positions_BT[1][t].item<std::int64_t>(), position++);
        ASSERT_EQ(batch.segments_BT[1][t].item<std::int64_t>(), segment);
      }
      ASSERT_EQ(batch.num_supervised, supervised);
    }
  }
}

TEST_F(MixtureTest, EveryLayoutGivesTheSameGlobalBatch) {
  const Mixture mixture(options, 42);
  for (const std::int64_t step : {0, 1, 17}) {
    const std::vector<SampleId> expected = mixture.samples_of_step(step);
    ASSERT_EQ(expected.size(), 12U);
    at::Tensor tokens;
    for (const int dp_size : {1, 2, 3, 4}) {
      std::vector<SampleId> seen;
      std::vector<at::Tensor> rows;
      for (int rank = 0; rank < dp_size; ++rank) {
        for (const Batch& batch : mixture.batches_of_step(step, rank, dp_size)) {
          EXPECT_LE(batch.tokens_BT.size(0), 2);
          seen.insert(seen.end(), batch.samples.begin(), batch.samples.end());
          rows.push_back(batch.tokens_BT);
          for (std::size_t row = 0; row < batch.samples.size(); ++row)
            EXPECT_EQ(batch.source_B[row], batch.samples[row].source);
          EXPECT_EQ(batch.num_supervised, (batch.labels_BT != -100).sum().item<std::int64_t>());
        }
      }
      EXPECT_EQ(seen, expected) << dp_size << " ranks";
      const at::Tensor all = at::cat(rows);
      if (!tokens.defined()) tokens = all;
      EXPECT_TRUE(at::equal(all, tokens)) << dp_size << " ranks";
    }
  }
  EXPECT_THAT(message_of<ConfigError>([&] { mixture.batches_of_step(0, 0, 5); }), HasSubstr("10 or 15"));
}

TEST_F(MixtureTest, EpochsArePermutationsAndResumingChangesNothing) {
  const Mixture mixture(options, 42);
  std::vector<std::int64_t> counts(2);
  std::vector<std::vector<std::int64_t>> windows(2);
  const std::int64_t num_steps = 60;
  for (std::int64_t step = 0; step < num_steps; ++step) {
    EXPECT_EQ(mixture.ledger_before(step), counts);
    EXPECT_EQ(Mixture(options, 42).samples_of_step(step), mixture.samples_of_step(step));
    for (const SampleId& sample : mixture.samples_of_step(step)) {
      const auto source = static_cast<std::size_t>(sample.source);
      EXPECT_EQ(sample.epoch, counts[source] / mixture.sources()[source].num_windows());
      ++counts[source];
      windows[source].push_back(sample.window);
    }
  }
  std::vector<std::vector<std::int64_t>> epochs;
  for (std::size_t source = 0; source < 2; ++source) {
    const auto size = static_cast<std::size_t>(mixture.sources()[source].num_windows());
    ASSERT_GT(windows[source].size(), 2 * size);
    for (std::size_t begin = 0; begin + size <= windows[source].size(); begin += size) {
      epochs.emplace_back(windows[source].begin() + static_cast<std::ptrdiff_t>(begin),
                          windows[source].begin() + static_cast<std::ptrdiff_t>(begin + size));
      const std::set<std::int64_t> distinct(epochs.back().begin(), epochs.back().end());
      EXPECT_EQ(distinct.size(), size);
      EXPECT_EQ(*distinct.rbegin(), static_cast<std::int64_t>(size) - 1);
    }
    EXPECT_NE(epochs[epochs.size() - 1], epochs[epochs.size() - 2]) << "each epoch has its own order";
  }
  EXPECT_NE(Mixture(options, 43).samples_of_step(0), mixture.samples_of_step(0));
}

TEST_F(MixtureTest, FingerprintTellsDataAndOptionsApart) {
  const std::string base = Mixture(options, 42).fingerprint();
  std::filesystem::create_directories(folder / "moved");
  std::filesystem::rename(folder / "general/shard_00000.h5", folder / "moved/a.h5");
  std::filesystem::rename(folder / "general/shard_00001.h5", folder / "moved/b.h5");
  options.source[0].path = folder / "moved";
  EXPECT_EQ(Mixture(options, 42).fingerprint(), base) << "names of files are no part of it";
  std::set<std::string> seen = {base, Mixture(options, 43).fingerprint()};
  config::DataOptions other = options;
  other.source[0].weight = 0.31;
  seen.insert(Mixture(other, 42).fingerprint());
  other = options;
  other.sequence_length = 9;
  seen.insert(Mixture(other, 42).fingerprint());
  other = options;
  other.global_batch = 24;
  seen.insert(Mixture(other, 42).fingerprint());
  Documents changed = second_;
  changed[0][0] = 7;
  write_shard(folder / "moved/b.h5", changed);
  seen.insert(Mixture(options, 42).fingerprint());
  EXPECT_EQ(seen.size(), 6U);
}

TEST_F(MixtureTest, RefusesSourcesThatDoNotFit) {
  write_shard(folder / "other.h5", random_documents(4, 20), 'b');
  config::DataOptions bad = options;
  bad.source.push_back({"other", 1, folder / "other.h5"});
  const std::string message = message_of<DataError>([&] { Mixture mixture(bad, 1); });
  EXPECT_THAT(message, HasSubstr("general"));
  EXPECT_THAT(message, HasSubstr("other"));
  write_shard(folder / "general/z.h5", random_documents(4, 20), 'b');
  EXPECT_THAT(message_of<DataError>([&] { TokenSource("g", folder / "general", 8); }), HasSubstr("z.h5"));
  write_shard(folder / "general/z.h5", random_documents(4, 20), 'a', "t");
  EXPECT_THAT(message_of<DataError>([&] { TokenSource("g", folder / "general", 8); }), HasSubstr("one source"));
  write_shard(folder / "short.h5", {{1, 3, 2}, {1, 2}});
  EXPECT_EQ(TokenSource("s", folder / "short.h5", 4).num_windows(), 1);
  EXPECT_THAT(message_of<DataError>([&] { TokenSource("s", folder / "short.h5", 5); }), HasSubstr("5 tokens"));
  EXPECT_THROW(TokenSource("s", folder / "absent", 4), DataError);
  std::filesystem::create_directory(folder / "empty");
  EXPECT_THAT(message_of<DataError>([&] { TokenSource("s", folder / "empty", 4); }), HasSubstr("no token shard"));
}

TEST_F(MixtureTest, ValidationIsDealtWithoutOverlap) {
  const TokenSource source("clinical", folder / "clinical.h5", 8);
  options.validation_sequences = 7;
  std::int64_t expected = 0;
  for (const int dp_size : {1, 2, 3, 4}) {
    std::vector<std::int64_t> windows;
    std::set<std::size_t> batch_counts;
    std::int64_t supervised = 0;
    for (int rank = 0; rank < dp_size; ++rank) {
      const std::vector<Batch> batches = validation_batches(source, options, rank, dp_size);
      batch_counts.insert(batches.size());
      for (const Batch& batch : batches) {
        supervised += batch.num_supervised;
        EXPECT_EQ(batch.num_supervised, (batch.labels_BT != -100).sum().item<std::int64_t>());
        for (const SampleId& sample : batch.samples) {
          if (sample.window >= 0) windows.push_back(sample.window);
        }
      }
    }
    EXPECT_EQ(batch_counts.size(), 1U) << "ranks must take the same number of steps";
    EXPECT_EQ(windows, (std::vector<std::int64_t>{0, 1, 2, 3, 4, 5, 6}));
    if (dp_size == 1) expected = supervised;
    EXPECT_EQ(supervised, expected);
  }
}

}  // namespace
}  // namespace osler::data
