#include "support/nccl_double.hpp"

#include <cstring>

#include "base/text_of.hpp"

namespace osler::tests {
namespace {

std::unique_ptr<NcclDouble>& instance() {
  static std::unique_ptr<NcclDouble> made = std::make_unique<NcclDouble>();
  return made;
}

/// Streams and communicators are small numbers in the place of addresses.
template <class Handle>
Handle handle_of(int number) {
  return reinterpret_cast<Handle>(static_cast<std::uintptr_t>(number));
}
template <class Handle>
int number_of(Handle handle) {
  return static_cast<int>(reinterpret_cast<std::uintptr_t>(handle));
}

std::string stream_name(cudaStream_t stream) {
  return stream == nullptr ? "current" : text_of("stream ", number_of(stream));
}

class RecordedStreams final : public comm::DeviceStreams {
 public:
  c10::Device device() const override { return {c10::DeviceType::CPU}; }
  cudaStream_t current() override { return nullptr; }
  cudaStream_t communication() override { return handle_of<cudaStream_t>(number_); }
  std::shared_ptr<Event> record(cudaStream_t stream) override {
    auto event = std::make_shared<Numbered>();
    event->number = nccl_double().next_event++;
    nccl_double().calls.push_back(text_of("event ", event->number, " in ", stream_name(stream)));
    return event;
  }
  void wait(cudaStream_t stream, const Event& event) override {
    const int number = static_cast<const Numbered&>(event).number;
    nccl_double().calls.push_back(text_of(stream_name(stream), " waits for event ", number));
  }
  bool is_over(const Event&) override { return nccl_double().events_are_over; }
  void keep_for_communication(const at::Tensor& tensor) override {
    nccl_double().calls.push_back(text_of("keep ", nccl_double().name_of(tensor.data_ptr()), " for stream ", number_));
  }
  std::unique_ptr<DeviceStreams> another() const override { return make_recorded_streams(); }

 private:
  struct Numbered final : Event {
    int number = 0;
  };
  int number_ = nccl_double().next_stream++;
};

}  // namespace

NcclDouble& nccl_double() {
  return *instance();
}

void reset_nccl_double() {
  instance() = std::make_unique<NcclDouble>();
}

std::unique_ptr<comm::DeviceStreams> make_recorded_streams() {
  return std::make_unique<RecordedStreams>();
}

void NcclDouble::name(const at::Tensor& tensor, const std::string& name) {
  spans.push_back({static_cast<const std::byte*>(tensor.data_ptr()), tensor.nbytes(), name});
}

std::string NcclDouble::name_of(const void* address) const {
  const auto* wanted = static_cast<const std::byte*>(address);
  for (const Span& span : spans) {
    if (wanted == span.begin) return span.name;
    if (wanted > span.begin && wanted < span.begin + span.size) return text_of(span.name, "+", wanted - span.begin);
  }
  return "?";
}

std::vector<std::string> NcclDouble::take() {
  return std::exchange(calls, {});
}

}  // namespace osler::tests

// ------------------------------------------------------------------------------------------ the library's functions
namespace {

using osler::text_of;
using osler::tests::nccl_double;

const char* name_of(ncclDataType_t type) {
  switch (type) {
    case ncclUint8:
      return "uint8";
    case ncclInt32:
      return "int32";
    case ncclInt64:
      return "int64";
    case ncclFloat16:
      return "float16";
    case ncclBfloat16:
      return "bfloat16";
    case ncclFloat32:
      return "float32";
    case ncclFloat64:
      return "float64";
    default:
      return "?";
  }
}

const char* name_of(ncclRedOp_t op) {
  return op == ncclSum ? "sum" : op == ncclMax ? "max" : op == ncclMin ? "min" : "?";
}

std::string name_of(ncclComm_t communicator) {
  return text_of("comm ", reinterpret_cast<std::uintptr_t>(communicator));
}

std::string name_of(const void* address) {
  return nccl_double().name_of(address);
}

template <class... Args>
ncclResult_t answer(const std::string& function, const Args&... args) {
  std::string line = function + "(";
  ((line += (line.back() == '(' ? "" : ", ") + text_of(args)), ...);
  nccl_double().calls.push_back(line + ")");
  const auto found = nccl_double().results.find(function);
  return found == nccl_double().results.end() ? ncclSuccess : found->second;
}

}  // namespace

extern "C" {

ncclResult_t ncclGetVersion(int* version) {
  *version = nccl_double().version;
  return ncclSuccess;
}
const char* ncclGetErrorString(ncclResult_t result) {
  return result == ncclRemoteError ? "remote error" : "some error";
}
const char* ncclGetLastError(ncclComm_t) {
  return "what NCCL says of it";
}
ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  std::memset(id->internal, 'i', sizeof id->internal);
  return answer("ncclGetUniqueId");
}
ncclResult_t ncclCommInitRankConfig(ncclComm_t* communicator, int size, ncclUniqueId id, int rank,
                                    ncclConfig_t* config) {
  *communicator = reinterpret_cast<ncclComm_t>(static_cast<std::uintptr_t>(nccl_double().next_communicator++));
  nccl_double().id_of_init.assign(id.internal, sizeof id.internal);
  return answer("ncclCommInitRankConfig", text_of("rank ", rank, " of ", size), text_of("blocking ", config->blocking));
}
// Not recorded: groups may ask as often as they like.
ncclResult_t ncclCommGetAsyncError(ncclComm_t, ncclResult_t* state) {
  auto& self = nccl_double();
  *state = self.polls_in_progress > 0 ? ncclInProgress : self.state;
  if (self.polls_in_progress > 0) --self.polls_in_progress;
  return ncclSuccess;
}
ncclResult_t ncclCommFinalize(ncclComm_t communicator) {
  return answer("ncclCommFinalize", name_of(communicator));
}
ncclResult_t ncclCommDestroy(ncclComm_t communicator) {
  return answer("ncclCommDestroy", name_of(communicator));
}
ncclResult_t ncclCommAbort(ncclComm_t communicator) {
  return answer("ncclCommAbort", name_of(communicator));
}
ncclResult_t ncclAllReduce(const void* from, void* into, size_t count, ncclDataType_t type, ncclRedOp_t op,
                           ncclComm_t communicator, cudaStream_t stream) {
  return answer("ncclAllReduce", name_of(from), name_of(into), count, name_of(type), name_of(op), name_of(communicator),
                osler::tests::stream_name(stream));
}
ncclResult_t ncclReduceScatter(const void* from, void* into, size_t count, ncclDataType_t type, ncclRedOp_t op,
                               ncclComm_t communicator, cudaStream_t stream) {
  return answer("ncclReduceScatter", name_of(from), name_of(into), count, name_of(type), name_of(op),
                name_of(communicator), osler::tests::stream_name(stream));
}
ncclResult_t ncclAllGather(const void* from, void* into, size_t count, ncclDataType_t type, ncclComm_t communicator,
                           cudaStream_t stream) {
  return answer("ncclAllGather", name_of(from), name_of(into), count, name_of(type), name_of(communicator),
                osler::tests::stream_name(stream));
}
ncclResult_t ncclBroadcast(const void* from, void* into, size_t count, ncclDataType_t type, int root,
                           ncclComm_t communicator, cudaStream_t stream) {
  return answer("ncclBroadcast", name_of(from), name_of(into), count, name_of(type), text_of("root ", root),
                name_of(communicator), osler::tests::stream_name(stream));
}
ncclResult_t ncclSend(const void* from, size_t count, ncclDataType_t type, int peer, ncclComm_t communicator,
                      cudaStream_t stream) {
  return answer("ncclSend", name_of(from), count, name_of(type), text_of("peer ", peer), name_of(communicator),
                osler::tests::stream_name(stream));
}
ncclResult_t ncclRecv(void* into, size_t count, ncclDataType_t type, int peer, ncclComm_t communicator,
                      cudaStream_t stream) {
  return answer("ncclRecv", name_of(into), count, name_of(type), text_of("peer ", peer), name_of(communicator),
                osler::tests::stream_name(stream));
}
ncclResult_t ncclGroupStart() {
  return answer("ncclGroupStart");
}
ncclResult_t ncclGroupEnd() {
  return answer("ncclGroupEnd");
}

}  // extern "C"
