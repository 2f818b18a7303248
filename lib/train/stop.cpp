#include "train/stop.hpp"

#include <csignal>

#include <array>
#include <cstddef>

#include "base/error.hpp"

namespace osler::train {

namespace {

constexpr std::array<int, 4> kSignals = {SIGUSR1, SIGUSR2, SIGTERM, SIGINT};

// Only what a signal handler may touch.
volatile std::sig_atomic_t first_signal = 0;
volatile std::sig_atomic_t leave_now = 0;
bool installed = false;
std::array<struct sigaction, kSignals.size()> previous{};

void on_signal(int number) {
  if (number == SIGTERM || number == SIGINT) {
    if (leave_now != 0) {
      std::signal(number, SIG_DFL);
      std::raise(number);  // delivered when the handler returns
      return;
    }
    leave_now = 1;
  }
  if (first_signal == 0) first_signal = number;
}

}  // namespace

StopSignals::StopSignals() {
  OSLER_CHECK(!installed, "two StopSignals at a time");
  installed = true;
  first_signal = 0;
  leave_now = 0;
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;  // reads and writes under way go on: only the step boundary may stop us
  sigemptyset(&action.sa_mask);
  for (std::size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &action, &previous[i]);
}

StopSignals::~StopSignals() {
  for (std::size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &previous[i], nullptr);
  installed = false;
}

bool StopSignals::caught() const {
  return first_signal != 0;
}
int StopSignals::number() const {
  return first_signal;
}

}  // namespace osler::train
