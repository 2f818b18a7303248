#include "train/stop.hpp"

#include <gtest/gtest.h>

#include <csignal>

namespace osler::train {
namespace {

TEST(StopSignals, AnyOfTheFourIsCaughtAndHandlersAreGivenBack) {
  for (const int number : {SIGUSR1, SIGUSR2, SIGTERM, SIGINT}) {
    {
      const StopSignals signals;
      EXPECT_FALSE(signals.caught());
      std::raise(number);
      EXPECT_TRUE(signals.caught());
      EXPECT_EQ(signals.number(), number);
    }
    EXPECT_EXIT(std::raise(number), testing::KilledBySignal(number), "");
  }
}

TEST(StopSignals, UserSignalsMayRepeat) {
  const StopSignals signals;
  for (int i = 0; i < 3; ++i) {
    std::raise(SIGUSR1);
    std::raise(SIGUSR2);
  }
  std::raise(SIGTERM);  // the launcher's, after the scheduler's: still one wish
  EXPECT_EQ(signals.number(), SIGUSR1);
}

TEST(StopSignals, SecondTerminationLeavesNow) {
  EXPECT_EXIT(
      {
        const StopSignals signals;
        std::raise(SIGTERM);
        std::raise(SIGTERM);
        std::_Exit(0);
      },
      testing::KilledBySignal(SIGTERM), "");
}

TEST(TimeLimit, LeavesRoomForAStepAndASave) {
  EXPECT_FALSE(TimeLimit(0).reached());
  TimeLimit limit(1.0);
  EXPECT_FALSE(limit.reached());
  limit.note_step(1800);
  EXPECT_FALSE(limit.reached());
  limit.note_save(1801);
  EXPECT_TRUE(limit.reached());
}

}  // namespace
}  // namespace osler::train
