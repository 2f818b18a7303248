// Passes that several ranks make together: tp ranks with the same rows, ep ranks with rows of their own or none.
#pragma once

#include <cstdint>
#include <exception>
#include <vector>

#include "comm/mesh_groups.hpp"
#include "model/attention_layout.hpp"

namespace osler::generate {

class Lockstep {
 public:
  explicit Lockstep(const comm::MeshGroups& groups);

  /// Whether any of the ranks that this one makes passes with, directly or through others, has work: asked before each
  /// pass, one number over each axis. A failure on one is thrown on all. *Collective over tp and ep.*
  bool any(bool has_work, const std::exception_ptr& failure = {}) const;

 private:
  const comm::MeshGroups& groups_;
  std::int64_t num_rounds_ = 1;
};

/// The rows of one pass on this rank.
struct PassRows {
  std::vector<std::int64_t> tokens, positions;  ///< [R]
  model::AttentionLayout layout;

  /// One segment more at positions [first_position, ...); -> its first row.
  std::int64_t append(const int* ids, std::int64_t length, std::int64_t first_position);
  /// Rows of a segment that nobody reads, so that the number of rows is a multiple of `multiple`.
  void pad(std::int64_t multiple);
};

}  // namespace osler::generate
