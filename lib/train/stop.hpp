// Who wants the run to stop, and why: signals on this rank and run.max_hours. A wish is only a number here; it becomes
// a decision when the step's own reduction has carried it to all ranks (step_stats.hpp). Local.
#pragma once

#include <cstdint>

#include "base/clock.hpp"

namespace osler::train {

/// SIGUSR1, SIGUSR2, SIGTERM and SIGINT set one flag for as long as this object lives. SIGUSR1 and SIGUSR2 may come any
/// number of times (a launcher and a scheduler may both deliver them). A second SIGTERM or SIGINT means "leave now":
/// the process dies of it, unsaved. One object at a time.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
  bool caught() const;
  int number() const;  ///< the first signal caught; 0 = none
};

/// Says when to stop so that one more step and one save still fit before the limit.
class TimeLimit {
 public:
  explicit TimeLimit(double max_hours) : limit_s_(max_hours * 3600) {}  ///< 0 = no limit
  void note_step(double seconds) { step_s_ = seconds; }
  void note_save(double seconds) { save_s_ = seconds; }
  bool reached() const { return limit_s_ > 0 && watch_.elapsed_s() + step_s_ + save_s_ >= limit_s_; }

 private:
  double limit_s_;
  double step_s_ = 0;
  double save_s_ = 0;
  Stopwatch watch_;
};

}  // namespace osler::train
