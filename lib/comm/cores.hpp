// Which cores this process may run on, and how ranks of a node share them. Local.
#pragma once

#include <string>
#include <vector>

namespace osler::comm {

/// One character per core of the node, '1' where this process may run.
std::string core_mask();
/// Threads for the rank whose mask is `masks[index]`: its cores, divided by the ranks of the node whose masks meet it
/// (launchers bind each rank to cores of its own, or none at all). At least 1.
int fair_share_of_cores(const std::vector<std::string>& masks, std::size_t index);

}  // namespace osler::comm
