#include "base/trace.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.hpp"
#include "support/temporary_folder.hpp"

namespace osler::trace {
namespace {

/// The complete events of a trace.
std::vector<nlohmann::json> spans_in(const std::string& path) {
  std::ifstream stream(path);
  std::vector<nlohmann::json> spans;
  for (const auto& event : nlohmann::json::parse(stream)) {
    if (event.at("ph") == "X") spans.push_back(event);
  }
  return spans;
}

TEST(Trace, WritesSpansOfAllThreadsBetweenStartAndStop) {
  const tests::TemporaryFolder folder;
  const std::string path = folder / "trace";
  { const Span before("before"); }
  start(path, 3);
  constexpr int kThreads = 4;
  constexpr int kSpans = 500;
  {
    const Span outer("outer");
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([] {
        for (int i = 0; i < kSpans; ++i) const Span inner("inner", Lane::communication);
      });
    }
    for (auto& thread : threads) thread.join();
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  stop();
  { const Span after("after"); }

  const auto spans = spans_in(path + ".rank_00003.json");
  ASSERT_EQ(spans.size(), kThreads * kSpans + 1U);
  const auto& outer = spans.back();  // events stand in the order of their ends
  EXPECT_EQ(outer.at("name"), "outer");
  EXPECT_EQ(outer.at("tid"), static_cast<int>(Lane::compute));
  EXPECT_GE(outer.at("dur").get<double>(), 2000);
  for (const auto& span : spans) {
    EXPECT_EQ(span.at("pid"), 3);
    EXPECT_GE(span.at("ts").get<double>(), outer.at("ts").get<double>());
  }
  const double now_us =
      std::chrono::duration<double, std::micro>(std::chrono::system_clock::now().time_since_epoch()).count();
  EXPECT_NEAR(outer.at("ts").get<double>(), now_us, 60e6) << "microseconds since the epoch";
}

TEST(Trace, StartingAgainClosesTheFirst) {
  const tests::TemporaryFolder folder;
  start(folder / "a", 0);
  start(folder / "b", 0);
  { const Span span("x"); }
  stop();
  stop();
  EXPECT_TRUE(spans_in(folder / "a.rank_00000.json").empty());
  EXPECT_EQ(spans_in(folder / "b.rank_00000.json").size(), 1U);
}

TEST(Trace, SaysWhereItCannotWrite) {
  EXPECT_THROW(start("/proc/nowhere/trace", 0), StorageError);
  EXPECT_NO_THROW(stop());
}

TEST(TraceDeathTest, IsClosedAtExit) {
  const tests::TemporaryFolder folder;
  const std::string path = folder / "t";
  EXPECT_EXIT(
      {
        start(path, 0);
        { const Span span("x"); }
        std::exit(0);
      },
      testing::ExitedWithCode(0), "");
  EXPECT_EQ(spans_in(path + ".rank_00000.json").size(), 1U);
}

}  // namespace
}  // namespace osler::trace
