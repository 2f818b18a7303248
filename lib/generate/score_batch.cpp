#include "generate/score_batch.hpp"

#include <algorithm>
#include <map>

#include "base/error.hpp"

namespace osler::generate {

std::vector<ScoreUnit> plan_units(const std::vector<ScoreRequest>& requests, std::int64_t max_length) {
  std::vector<ScoreUnit> units;
  for (std::size_t r = 0; r < requests.size(); ++r) {
    const auto context_length = static_cast<std::int64_t>(requests[r].context.size());
    OSLER_CHECK(context_length > 0, "request ", r, " has an empty context");
    std::map<std::int64_t, ScoreUnit> by_cut;
    for (std::size_t c = 0; c < requests[r].continuations.size(); ++c) {
      const auto length = static_cast<std::int64_t>(requests[r].continuations[c].size());
      OSLER_CHECK(length > 0, "request ", r, " has an empty continuation");
      if (length > max_length)
        throw DataError("a continuation has ", length, " tokens, the model holds ", max_length,
                        " positions; shorten the option or use a model with a longer window");
      // The last token is only predicted, never read: max_length rows see max_length + 1 tokens.
      const std::int64_t cut = std::max<std::int64_t>(0, context_length + length - (max_length + 1));
      ScoreUnit& unit = by_cut[cut];
      unit.continuations.push_back(c);
      unit.num_rows += length - 1;
    }
    for (auto& [cut, unit] : by_cut) {
      unit.request = r;
      unit.context_begin = cut;
      unit.num_rows += context_length - cut;
      units.push_back(std::move(unit));
    }
  }
  // Longest first: what does not fit fails at once, and time left is over- rather than underestimated.
  std::stable_sort(units.begin(), units.end(),
                   [](const ScoreUnit& a, const ScoreUnit& b) { return a.num_rows > b.num_rows; });
  return units;
}

namespace {

/// Appends ids at positions [first_position, ...) as one segment; returns its first row.
std::int64_t append_segment(ScoreBatch& batch, const int* ids, std::int64_t length, std::int64_t first_position,
                            std::int64_t prefix_begin, std::int64_t prefix_length) {
  const std::int64_t begin = batch.layout.num_rows;
  for (std::int64_t i = 0; i < length; ++i) {
    batch.tokens.push_back(ids[i]);
    batch.positions.push_back(first_position + i);
  }
  batch.layout.segments.push_back({begin, length, prefix_begin, prefix_length});
  batch.layout.num_rows += length;
  return begin;
}

}  // namespace

ScoreBatch build_batch(const std::vector<ScoreRequest>& requests, const std::vector<ScoreUnit>& units,
                       std::size_t begin, std::size_t end) {
  ScoreBatch batch;
  for (std::size_t u = begin; u < end; ++u) {
    const ScoreUnit& unit = units[u];
    const ScoreRequest& request = requests[unit.request];
    const std::int64_t context_length = static_cast<std::int64_t>(request.context.size()) - unit.context_begin;
    const std::int64_t context_row =
        append_segment(batch, request.context.data() + unit.context_begin, context_length, 0, 0, 0);
    for (const std::size_t c : unit.continuations) {
      const std::vector<int>& ids = request.continuations[c];
      const auto length = static_cast<std::int64_t>(ids.size());
      batch.slots.push_back({unit.request, c, static_cast<std::int64_t>(batch.labels.size()), length});
      batch.head_rows.push_back(context_row + context_length - 1);
      batch.labels.push_back(ids[0]);
      if (length == 1) continue;
      const std::int64_t row =
          append_segment(batch, ids.data(), length - 1, context_length, context_row, context_length);
      for (std::int64_t i = 1; i < length; ++i) {
        batch.head_rows.push_back(row + i - 1);
        batch.labels.push_back(ids[static_cast<std::size_t>(i)]);
      }
    }
  }
  return batch;
}

}  // namespace osler::generate
