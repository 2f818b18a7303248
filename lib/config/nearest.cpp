#include "config/nearest.hpp"

#include <algorithm>

#include "base/text_of.hpp"

namespace osler::config {
namespace {

/// Insertions, deletions, replacements and swaps of neighbours that turn one word into the other.
std::size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<std::vector<std::size_t>> cost(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) {
    for (std::size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        cost[i][j] = i + j;
        continue;
      }
      cost[i][j] = std::min({cost[i - 1][j] + 1, cost[i][j - 1] + 1, cost[i - 1][j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
    }
  }
  return cost[a.size()][b.size()];
}

}  // namespace

std::string nearest_name(const std::string& text, const std::vector<std::string>& candidates) {
  constexpr std::size_t kLongestName = 100;  // nobody meant more, and the table grows with it
  if (text.size() > kLongestName) return "";
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(2, text.size() / 3) + 1;  // farther is no help
  for (const std::string& candidate : candidates) {
    const std::size_t distance = edit_distance(text, candidate);
    if (distance >= best_distance || distance >= std::max(text.size(), candidate.size())) continue;
    best = candidate;
    best_distance = distance;
  }
  return best;
}

std::string nearest_multiples(std::int64_t value, std::int64_t step) {
  const std::int64_t below = value / step * step;
  return below == 0 ? text_of("use ", step) : text_of("the nearest are ", below, " and ", below + step);
}

std::string nearest_divisors(std::int64_t value, std::int64_t whole) {
  std::int64_t below = std::min(value, whole);
  while (whole % below != 0) --below;
  std::int64_t above = value;
  while (above < whole && whole % above != 0) ++above;
  return above >= whole && below == whole ? text_of("use ", below)
                                          : text_of("the nearest are ", below, " and ", std::min(above, whole));
}

}  // namespace osler::config
