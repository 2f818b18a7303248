// Self times of LibTorch's operations and of backward nodes, as a table on stderr.
#pragma once

#include <ATen/record_function.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <iomanip>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/text_of.hpp"

namespace osler::bench {

inline double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Wall time, and time of all the process's threads, since it was made.
class Clocks {
 public:
  double elapsed_s() const { return now_s() - start_s_; }
  double cpu_s() const { return static_cast<double>(std::clock() - start_) / CLOCKS_PER_SEC; }

 private:
  double start_s_ = now_s();
  std::clock_t start_ = std::clock();
};

struct Frame : at::ObserverContext {
  double start = 0, children = 0;
  Frame* parent = nullptr;
};
inline thread_local Frame* innermost = nullptr;
inline std::map<std::string, std::pair<double, int>> self_times;

inline std::unique_ptr<at::ObserverContext> enter(const at::RecordFunction&) {
  auto frame = std::make_unique<Frame>();
  frame->parent = innermost;
  innermost = frame.get();
  frame->start = now_s();
  return frame;
}

inline void leave(const at::RecordFunction& function, at::ObserverContext* context) {
  auto* frame = static_cast<Frame*>(context);
  const double total = now_s() - frame->start;
  innermost = frame->parent;
  if (innermost) innermost->children += total;
  auto& entry = self_times[function.name()];
  entry.first += total - frame->children;
  entry.second += 1;
}

/// From now on.
inline void record_self_times() {
  at::addGlobalCallback(at::RecordFunctionCallback(enter, leave));
}

/// The 30 costliest, and the share of `elapsed_s` that is in none, where it is given.
inline void print_self_times(double elapsed_s = 0) {
  std::vector<std::pair<double, std::string>> rows;
  double sum = 0;
  for (const auto& [name, entry] : self_times) {
    rows.emplace_back(entry.first, text_of(std::setw(6), entry.second, "  ", name));
    sum += entry.first;
  }
  if (elapsed_s > sum) rows.emplace_back(elapsed_s - sum, "        outside LibTorch's operations");
  sum = std::max(sum, elapsed_s);
  std::sort(rows.rbegin(), rows.rend());
  rows.resize(std::min<std::size_t>(rows.size(), 30));
  for (const auto& [seconds, name] : rows)
    std::cerr << std::fixed << std::setprecision(3) << std::setw(8) << seconds << " s " << std::setprecision(1)
              << std::setw(5) << 100 * seconds / sum << " %  " << name << '\n';
}

}  // namespace osler::bench
