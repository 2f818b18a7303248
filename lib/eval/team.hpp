// Pieces of work dealt over the ranks in rounds, and what all ranks get to know of it.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "comm/group.hpp"

namespace osler::eval {

/// Thrown on all ranks alike when one of them was asked to stop. What is finished is in the journal.
struct StopRequested {};

struct Team {
  comm::Group& ranks;  ///< all
  int replica = 0;     ///< which copy of the model this rank belongs to
  int num_replicas = 1;
  bool is_lead = true;  ///< one rank of each copy: it writes the journal
  std::function<bool()> wants_stop = [] { return false; };
};

/// A piece is bytes made by one copy of the model. `work` gets its number, or nothing in a round in which other copies
/// still have one: the model's calls may be collective. Returns all pieces by number on all ranks; those done already
/// stay empty. Between rounds the ranks agree whether to go on; throws StopRequested. *Collective.*
std::vector<std::string> run_pieces(const Team& team, const std::vector<bool>& is_done, const std::string& what,
                                    const std::function<std::string(std::optional<std::size_t>)>& work);

}  // namespace osler::eval
