// Ends the job when a peer is lost: a host that vanishes closes no connection, so that MPI would wait for ever. One
// thread per process looks at the collectives under way; when one has not moved for too long it asks the watchdogs of
// all ranks, on a communicator of its own, and says who does not answer.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "comm/group.hpp"

namespace osler::comm {

/// This thread is in a collective from construction to destruction. They nest. Local, under a microsecond.
class CollectiveSection {
 public:
  explicit CollectiveSection(const char* name);  ///< a literal
  ~CollectiveSection();
  CollectiveSection(const CollectiveSection&) = delete;
  CollectiveSection& operator=(const CollectiveSection&) = delete;

  const char* name() const { return name_; }
  double moved_s() const { return moved_s_; }  ///< monotonic_s() of the last progress
  /// Something arrived in this thread's innermost section: its time and that of those around it begin anew.
  static void note_progress();

 private:
  const char* name_;
  std::atomic<double> moved_s_;
  CollectiveSection* outer_;
};

/// What this process is at.
struct Place {
  std::string section;  ///< the one that has not moved for the longest time; "" outside collectives
  double for_s = 0;     ///< without progress
  std::string failure;  ///< what a device says went wrong
};
Place place_of_this_process();

/// Collectives that a device works on while no thread waits in them. The watchdog looks on its rounds, from its own
/// thread.
class WatchedDevice {
 public:
  explicit WatchedDevice(std::function<Place()> look);
  ~WatchedDevice();
  WatchedDevice(const WatchedDevice&) = delete;
  WatchedDevice& operator=(const WatchedDevice&) = delete;

  Place look() const { return look_(); }

 private:
  std::function<Place()> look_;
};

class Watchdog {
 public:
  /// Begins to watch; `host` has all ranks of the job. When a section of this process has not moved for `timeout_s`,
  /// the ranks that do not answer within kAnswerS are named with their hosts (or, when all do, what those in other
  /// places are at), and the job ends with code 7. Nothing without peers. *Collective.*
  Watchdog(Group& host, double timeout_s);
  ~Watchdog();  ///< *collective*, unless an exception is in flight
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  /// Ranks that stopped for the same reason ask within moments of each other; a live one answers within a second.
  static constexpr double kAnswerS = 5;

 private:
  class Thread;
  std::unique_ptr<Thread> thread_;
};

}  // namespace osler::comm
