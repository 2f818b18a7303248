// Ranks over MPI, for host tensors and for the control plane. Deterministic: sums run in rank order (comm/group.hpp).
#pragma once

#include <memory>

#include "comm/group.hpp"

namespace osler::comm {

/// All ranks of the job, on a communicator of its own. MPI is initialised. Failures of MPI are thrown as CommError with
/// MPI's own text. Splits of one rank become SelfGroups. *Collective.*
std::unique_ptr<Group> make_mpi_group();

}  // namespace osler::comm
