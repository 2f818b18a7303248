// What the watchdog knows and leaves alone. That it ends a job whose host vanishes is in tests/faults/test_hosts.py.
#include "comm/watchdog.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "base/clock.hpp"
#include "support/ranks_world.hpp"

namespace osler::comm {
namespace {

using std::chrono::milliseconds;

Group& group() {
  return tests::world().host();
}

TEST(CollectiveSection, ProgressRenewsItsTimeAndThatOfThoseAround) {
  const CollectiveSection outer("outer");
  const CollectiveSection inner("inner");
  const double before_s = outer.moved_s();
  std::this_thread::sleep_for(milliseconds(5));
  std::thread([] { CollectiveSection::note_progress(); }).join();  // in no section there
  EXPECT_EQ(outer.moved_s(), before_s);
  CollectiveSection::note_progress();
  EXPECT_GT(outer.moved_s(), before_s);
  EXPECT_EQ(outer.moved_s(), inner.moved_s());
}

// Peers that come late, but within the time, and slow collectives in which something moves, are no reason to end.
TEST(Watchdog, LeavesAJobAloneThatMoves) {
  const Watchdog watchdog(group(), 2.0);
  for (int i = 0; i < 3; ++i) {
    if (group().rank() == 0) std::this_thread::sleep_for(milliseconds(1200));
    group().barrier();
  }
  const CollectiveSection section("slow");
  const Stopwatch watch;
  while (watch.elapsed_s() < 4) {
    std::this_thread::sleep_for(milliseconds(200));
    CollectiveSection::note_progress();
  }
}

}  // namespace
}  // namespace osler::comm
