#include "train/metrics.hpp"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "base/publish.hpp"

namespace osler::train {
namespace {

TEST(CutMetrics, KeepsWholeRowsUpToTheRestoredStep) {
  struct Case {
    const char* what;
    std::string text;
    std::int64_t last_step;
    const char* kept;
  };
  const Case cases[] = {
      {"nothing", "", 5, ""},
      {"all kept", "{\"step\":1}\n{\"step\":2}\n", 2, "{\"step\":1}\n{\"step\":2}\n"},
      {"later rows cut", "{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n", 2, "{\"step\":1}\n{\"step\":2}\n"},
      {"two rows of one step", "{\"step\":2}\n{\"step\":2,\"valid/a\":1.0}\n{\"step\":3}\n", 2,
       "{\"step\":2}\n{\"step\":2,\"valid/a\":1.0}\n"},
      {"torn last line", "{\"step\":1}\n{\"step\":2,\"lo", 9, "{\"step\":1}\n"},
      {"whole row without its newline is torn too", "{\"step\":1}\n{\"step\":2}", 9, "{\"step\":1}\n"},
      {"zeros at the end, as a crashed file system leaves them", std::string("{\"step\":1}\n\0\0\n", 14), 9,
       "{\"step\":1}\n"},
      {"nothing restored", "{\"step\":0}\n{\"step\":1}\n", -1, ""},
  };
  for (const auto& c : cases) EXPECT_EQ(cut_metrics(c.text, c.last_step, "m"), c.kept) << c.what;
}

TEST(CutMetrics, RefusesAFileThatIsNotMetrics) {
  for (const char* text :
       {"hello\nworld\n", "{\"loss\":1}\n{\"step\":2}\n", "[1]\n{\"step\":1}\n", "{\"step\":\"1\"}\n\n"}) {
    try {
      cut_metrics(text, 5, "runs/a/metrics.jsonl");
      FAIL() << text;
    } catch (const DataError& error) {
      EXPECT_NE(std::string(error.what()).find("runs/a/metrics.jsonl:1"), std::string::npos) << error.what();
    }
  }
}

class MetricsFileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "metricsXXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    path_ = name + "/metrics.jsonl";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string folder_;
  std::string path_;
};

TEST_F(MetricsFileTest, ReopensWhereTheCheckpointStands) {
  {
    MetricsFile file(path_, -1, MetricsRole::writer);
    for (int step = 1; step <= 4; ++step) file.append({{"step", step}, {"loss", 0.1 * step}});
    file.sync();
  }
  std::ofstream(path_, std::ios::app) << "{\"step\":5,";  // killed in a write
  {
    MetricsFile file(path_, 2, MetricsRole::writer);
    file.append({{"step", 3}, {"loss", 7.0}});
  }
  EXPECT_EQ(read_file(path_), "{\"step\":1,\"loss\":0.1}\n{\"step\":2,\"loss\":0.2}\n{\"step\":3,\"loss\":7.0}\n");
}

TEST_F(MetricsFileTest, WritesDoublesThatReadBackBitForBit) {
  const double value = 2.0 / 3.0 * 1e-7;
  {
    MetricsFile file(path_, -1, MetricsRole::writer);
    file.append({{"step", 1}, {"loss", value}, {"bad", std::numeric_limits<double>::quiet_NaN()}});
  }
  const auto row = nlohmann::json::parse(read_file(path_));
  EXPECT_EQ(row["loss"].get<double>(), value);
  EXPECT_TRUE(row["bad"].is_null());
}

TEST_F(MetricsFileTest, SilentRanksTouchNothing) {
  MetricsFile file(path_, -1, MetricsRole::silent);
  file.append({{"step", 1}});
  file.sync();
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(MetricsFileTest, AFullDiskKeepsRowsAndFailsTheSync) {
  MetricsFile file("/dev/full", 1, MetricsRole::writer);
  file.append({{"step", 1}});
  EXPECT_THROW(file.sync(), StorageError);
}

}  // namespace
}  // namespace osler::train
