#include "generate/lockstep.hpp"

#include <algorithm>
#include <numeric>

namespace osler::generate {

Lockstep::Lockstep(const comm::MeshGroups& groups) : groups_(groups) {
  // Both axes are blocks of neighbours. Where one's blocks lie within the other's, one round reaches everybody; else
  // (tp 2, ep 3) a word travels block by block.
  const std::int64_t tp = groups.tp().size(), ep = groups.ep().size();
  num_rounds_ = std::lcm(tp, ep) / std::max(tp, ep);
}

bool Lockstep::any(bool has_work, const std::exception_ptr& failure) const {
  constexpr std::int64_t kNothing = 0, kWork = 1, kFailed = 2;
  std::int64_t state = failure ? kFailed : has_work ? kWork : kNothing;
  for (std::int64_t round = 0; round < num_rounds_; ++round) {
    for (comm::Group* group : {&groups_.ep(), &groups_.tp()})
      if (group->size() > 1) state = group->all_reduce_value(state, comm::ReduceOp::max);
  }
  std::exception_ptr known = failure;
  for (std::int64_t round = 0; state == kFailed && round < num_rounds_; ++round) {
    for (comm::Group* group : {&groups_.ep(), &groups_.tp()}) {
      try {
        comm::agree(*group, known);
      } catch (...) {
        known = std::current_exception();
      }
    }
  }
  if (known) std::rethrow_exception(known);
  return state == kWork;
}

std::int64_t PassRows::append(const int* ids, std::int64_t length, std::int64_t first_position) {
  const std::int64_t begin = layout.num_rows;
  for (std::int64_t i = 0; i < length; ++i) {
    tokens.push_back(ids[i]);
    positions.push_back(first_position + i);
  }
  layout.segments.push_back({begin, length, 0, 0});
  layout.num_rows += length;
  return begin;
}

void PassRows::pad(std::int64_t multiple) {
  const std::vector<int> padding(static_cast<std::size_t>((multiple - layout.num_rows % multiple) % multiple), 0);
  if (!padding.empty()) append(padding.data(), static_cast<std::int64_t>(padding.size()), 0);
}

}  // namespace osler::generate
