// How score requests become flattened batches: pure arithmetic on ids, tested without a model.
#pragma once

#include <cstdint>
#include <vector>

#include "generate/scorer.hpp"
#include "model/attention_layout.hpp"

namespace osler::generate {

/// A context as the model sees it, and those continuations of its request that share it.
struct ScoreUnit {
  std::size_t request = 0;
  std::int64_t context_begin = 0;          ///< tokens cut from the left, 0 unless the request is too long
  std::vector<std::size_t> continuations;  ///< indices into the request's
  std::int64_t num_rows = 0;               ///< context rows + (length - 1) rows of each continuation
};

/// Where one continuation's log-probabilities stand among the rows that go through the head.
struct ScoreSlot {
  std::size_t request = 0;
  std::size_t continuation = 0;
  std::int64_t first = 0;
  std::int64_t count = 0;
};

struct ScoreBatch {
  std::vector<std::int64_t> tokens;     ///< [R]
  std::vector<std::int64_t> positions;  ///< [R]: those of a continuation go on after its context
  model::AttentionLayout layout;
  std::vector<std::int64_t> head_rows;  ///< rows whose next token is asked for, repeated if asked for more than once
  std::vector<std::int64_t> labels;     ///< that token
  std::vector<ScoreSlot> slots;
};

/// Longest first. Continuations of different length may cut a too long context differently: each cut is a unit.
/// Throws DataError when a continuation is longer than `max_length`, InternalError on empty input.
std::vector<ScoreUnit> plan_units(const std::vector<ScoreRequest>& requests, std::int64_t max_length);

/// The batch of units [begin, end).
ScoreBatch build_batch(const std::vector<ScoreRequest>& requests, const std::vector<ScoreUnit>& units,
                       std::size_t begin, std::size_t end);

}  // namespace osler::generate
