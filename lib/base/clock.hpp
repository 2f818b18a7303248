// Monotonic time in seconds, and times as people read them.
#pragma once

#include <string>

namespace osler {

double monotonic_s();
std::string utc_timestamp();                ///< "2026-01-31T13:05:59Z"
std::string duration_text(double seconds);  ///< "3d04h", "2h05m", "3m20s", "12s"; "?" unless finite and >= 0

/// Seconds since construction or the last restart().
class Stopwatch {
 public:
  double elapsed_s() const { return monotonic_s() - start_s_; }
  double restart() {
    const double now_s = monotonic_s();
    const double elapsed = now_s - start_s_;
    start_s_ = now_s;
    return elapsed;
  }

 private:
  double start_s_ = monotonic_s();
};

}  // namespace osler
