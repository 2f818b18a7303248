// Ranks over NCCL, for tensors on a GPU; the control plane stays with the MPI group it was made from. Collectives are
// queued on the current CUDA stream and order with the tensor operations before and after them; started ones run on a
// stream of the group's own.
#pragma once

#include <c10/core/Device.h>

#include <memory>
#include <string>

#include "comm/device_streams.hpp"
#include "comm/group.hpp"

namespace osler::comm {

/// The ranks of `control`, each with its own device. A group of one rank needs no NCCL and is a SelfGroup. Throws
/// CommError with NCCL's own text, and when the NCCL loaded is not the one compiled against. *Collective over control.*
std::unique_ptr<Group> make_nccl_group(std::unique_ptr<Group> control, std::unique_ptr<DeviceStreams> streams);

std::string nccl_version();  ///< of the library that is loaded, e.g. "2.30.7"

}  // namespace osler::comm
