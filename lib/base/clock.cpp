#include "base/clock.hpp"

#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <ctime>

namespace osler {

double monotonic_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string utc_timestamp() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::array<char, 32> text{};
  const std::size_t length = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return {text.data(), length};
}

std::string duration_text(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0 || seconds > 1e15) return "?";
  const long long total = std::llround(seconds);
  std::array<char, 48> text{};
  if (total < 60) {
    std::snprintf(text.data(), text.size(), "%llds", total);
  } else if (total < 3600) {
    std::snprintf(text.data(), text.size(), "%lldm%02llds", total / 60, total % 60);
  } else if (total < 86'400) {
    std::snprintf(text.data(), text.size(), "%lldh%02lldm", total / 3600, total / 60 % 60);
  } else {
    std::snprintf(text.data(), text.size(), "%lldd%02lldh", total / 86'400, total / 3600 % 24);
  }
  return text.data();
}

}  // namespace osler
