// Ends the job when a peer is lost: a host that vanishes closes no connection, so that MPI would wait for ever. One
// thread per process looks at the collectives under way; when one has not moved for too long it asks the watchdogs of
// all ranks, on a communicator of its own, and says who does not answer.
#pragma once

#include <atomic>
#include <memory>

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
