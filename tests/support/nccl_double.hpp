// A test double of NCCL and of the device's streams: every call becomes one line of text, in order, and answers what
// the test has laid down. nccl_double.cpp is linked in the place of the library, so that lib/comm/nccl_group.cpp runs
// unchanged where there is no GPU; tensors are host tensors.
#pragma once

#include <ATen/core/Tensor.h>
#include <nccl.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "comm/device_streams.hpp"

namespace osler::tests {

struct NcclDouble {
  std::vector<std::string> calls;               ///< as "ncclAllReduce(a, a, 12, float32, sum, comm 1, current)"
  std::map<std::string, ncclResult_t> results;  ///< by function; ncclSuccess where none is laid down
  int polls_in_progress = 0;                    ///< how often ncclCommGetAsyncError says ncclInProgress from now on
  ncclResult_t state = ncclSuccess;             ///< what it says then
  bool events_are_over = true;
  int version = NCCL_VERSION_CODE;
  std::string id_of_init;  ///< the unique id that ncclCommInitRankConfig was given
  int next_communicator = 1;
  int next_stream = 1;
  int next_event = 1;

  /// Addresses inside the tensor's memory are written as its name, or name+bytes.
  void name(const at::Tensor& tensor, const std::string& name);
  std::string name_of(const void* address) const;
  /// The lines since the last call.
  std::vector<std::string> take();

  struct Span {
    const std::byte* begin;
    std::size_t size;
    std::string name;
  };
  std::vector<Span> spans;
};

/// The one that the library's functions talk to; new for every test by reset_nccl_double().
NcclDouble& nccl_double();
void reset_nccl_double();

/// Streams "current" and "stream 1", "stream 2", ... (one per group), on the host device.
std::unique_ptr<comm::DeviceStreams> make_recorded_streams();

}  // namespace osler::tests
