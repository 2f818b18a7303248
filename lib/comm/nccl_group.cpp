#include "comm/nccl_group.hpp"

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>
#include <nccl.h>

#include <cstring>
#include <mutex>
#include <thread>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/log.hpp"
#include "comm/watchdog.hpp"

namespace osler::comm {
namespace {

/// Connecting thousands of ranks takes minutes; queueing one collective takes microseconds. Both wait at most this
/// long.
constexpr double kTimeoutS = 600;
constexpr int kMajorStep = 10000;  // 2.30.7 is 23007
constexpr int kMinorStep = 100;

int loaded_version() {
  int version = 0;
  ncclGetVersion(&version);
  return version;
}

void require_compiled_version() {
  const int loaded = loaded_version();
  if (loaded / kMinorStep != NCCL_VERSION_CODE / kMinorStep) {
    throw CommError("NCCL ", nccl_version(), " is loaded but osler was compiled with ", NCCL_MAJOR, ".", NCCL_MINOR,
                    ".", NCCL_PATCH, ": remove the other one from LD_LIBRARY_PATH, or build again");
  }
  if (loaded >= 22803 && loaded <= 22808)
    log::warning("NCCL ", nccl_version(), " may crash on abort; 2.28.9 is mended");
}

[[noreturn]] void fail(ncclResult_t result, ncclComm_t communicator, const char* call) {
  throw CommError(call, " failed: ", ncclGetErrorString(result), ": ", ncclGetLastError(communicator),
                  ". NCCL_DEBUG=INFO tells more");
}

/// Waits until a call on a non-blocking communicator is through.
void finish(ncclResult_t result, ncclComm_t communicator, const char* call) {
  const Stopwatch waited;
  while (result == ncclInProgress) {
    if (const ncclResult_t query = ncclCommGetAsyncError(communicator, &result); query != ncclSuccess)
      fail(query, communicator, call);
    if (result != ncclInProgress) break;
    if (waited.elapsed_s() > kTimeoutS)
      throw CommError(call, " is not through after ", duration_text(kTimeoutS), ": a peer is lost or hangs");
    std::this_thread::yield();
  }
  if (result != ncclSuccess) fail(result, communicator, call);
}

ncclDataType_t nccl_type_of(c10::ScalarType type) {
  switch (type) {
    case c10::ScalarType::Byte:
      return ncclUint8;
    case c10::ScalarType::Int:
      return ncclInt32;
    case c10::ScalarType::Long:
      return ncclInt64;
    case c10::ScalarType::Half:
      return ncclFloat16;
    case c10::ScalarType::BFloat16:
      return ncclBfloat16;
    case c10::ScalarType::Float:
      return ncclFloat32;
    case c10::ScalarType::Double:
      return ncclFloat64;
    default:
      throw InternalError("NCCL has no type for ", c10::toString(type));
  }
}

ncclRedOp_t nccl_op_of(ReduceOp op) {
  switch (op) {
    case ReduceOp::sum:
      return ncclSum;
    case ReduceOp::max:
      return ncclMax;
    case ReduceOp::min:
      return ncclMin;
  }
  throw InternalError("unknown reduction");
}

std::size_t count_of(const at::Tensor& tensor) {
  return static_cast<std::size_t>(tensor.numel());
}

std::size_t row_bytes(const at::Tensor& tensor) {
  std::size_t bytes = tensor.element_size();
  for (const auto extent : tensor.sizes().slice(1)) bytes *= static_cast<std::size_t>(extent);
  return bytes;
}

/// The current stream goes on after the started collective.
class PendingOnStream final : public Pending {
 public:
  PendingOnStream(DeviceStreams& streams, std::shared_ptr<DeviceStreams::Event> done)
      : streams_(streams), done_(std::move(done)) {}
  void wait() override { streams_.wait(streams_.current(), *done_); }

 private:
  DeviceStreams& streams_;
  std::shared_ptr<DeviceStreams::Event> done_;
};

class NcclGroup final : public Group {
 public:
  NcclGroup(std::unique_ptr<Group> control, std::unique_ptr<DeviceStreams> streams);
  ~NcclGroup() override;

  int rank() const override { return control_->rank(); }
  int size() const override { return control_->size(); }

  void barrier() override { control_->barrier(); }
  std::string broadcast_bytes(const std::string& bytes, int root) override {
    return control_->broadcast_bytes(bytes, root);
  }
  std::vector<std::string> all_gather_bytes(const std::string& bytes) override {
    return control_->all_gather_bytes(bytes);
  }
  double all_reduce_value(double value, ReduceOp op) override { return control_->all_reduce_value(value, op); }
  std::int64_t all_reduce_value(std::int64_t value, ReduceOp op) override {
    return control_->all_reduce_value(value, op);
  }
  std::unique_ptr<Group> split(int color, int key) override {
    return make_nccl_group(control_->split(color, key), streams_->another());
  }

 protected:
  void do_all_reduce(at::Tensor& tensor, ReduceOp op) override {
    queue("ncclAllReduce", {tensor}, streams_->current(), [&](cudaStream_t stream) {
      return ncclAllReduce(tensor.data_ptr(), tensor.data_ptr(), count_of(tensor), nccl_type_of(tensor.scalar_type()),
                           nccl_op_of(op), communicator_, stream);
    });
  }
  void do_reduce_scatter(at::Tensor& shard, const at::Tensor& full, ReduceOp op) override {
    queue_reduce_scatter(shard, full, op, streams_->current());
  }
  std::unique_ptr<Pending> do_start_reduce_scatter(at::Tensor& shard, const at::Tensor& full, ReduceOp op) override;
  void do_all_gather(at::Tensor& full, const at::Tensor& shard) override {
    queue("ncclAllGather", {full, shard}, streams_->current(), [&](cudaStream_t stream) {
      return ncclAllGather(shard.data_ptr(), full.data_ptr(), count_of(shard), nccl_type_of(full.scalar_type()),
                           communicator_, stream);
    });
  }
  void do_all_to_all(at::Tensor& received, const std::vector<std::int64_t>& recv_rows, const at::Tensor& sent,
                     const std::vector<std::int64_t>& send_rows) override;
  void do_broadcast(at::Tensor& tensor, int root) override {
    queue("ncclBroadcast", {tensor}, streams_->current(), [&](cudaStream_t stream) {
      return ncclBroadcast(tensor.data_ptr(), tensor.data_ptr(), count_of(tensor), nccl_type_of(tensor.scalar_type()),
                           root, communicator_, stream);
    });
  }

 private:
  using Event = std::shared_ptr<DeviceStreams::Event>;

  /// Runs `call` with `stream` and waits until NCCL has taken it in; the event comes when it is done.
  template <class Call>
  Event queue(const char* name, at::TensorList tensors, cudaStream_t stream, const Call& call) {
    for (const auto& tensor : tensors) {
      OSLER_CHECK(tensor.is_contiguous() && tensor.device() == streams_->device(), name,
                  " takes contiguous tensors on ", streams_->device().str());
    }
    const std::lock_guard lock(mutex_);
    // What went wrong in earlier collectives shows up here: they were only queued.
    if (const std::string failure = failure_so_far(); !failure.empty()) throw CommError(failure);
    const c10::DeviceGuard guard(streams_->device());
    finish(call(stream), communicator_, name);
    last_ = {streams_->record(stream), name, monotonic_s()};
    return last_.done;
  }
  Event queue_reduce_scatter(at::Tensor& shard, const at::Tensor& full, ReduceOp op, cudaStream_t on) {
    return queue("ncclReduceScatter", {shard, full}, on, [&](cudaStream_t stream) {
      return ncclReduceScatter(full.data_ptr(), shard.data_ptr(), count_of(shard), nccl_type_of(full.scalar_type()),
                               nccl_op_of(op), communicator_, stream);
    });
  }
  std::string failure_so_far() const;
  Place look();

  struct Queued {
    Event done;
    const char* name = "";
    double since_s = 0;
  };

  std::unique_ptr<Group> control_;
  std::unique_ptr<DeviceStreams> streams_;
  ncclComm_t communicator_ = nullptr;
  std::mutex mutex_;  ///< of what follows and of the communicator: the watchdog looks from its own thread
  Queued last_;       ///< NCCL works in order: when this one is over, all are
  std::unique_ptr<WatchedDevice> watched_;
};

std::string NcclGroup::failure_so_far() const {
  ncclResult_t state = ncclSuccess;
  const ncclResult_t query = ncclCommGetAsyncError(communicator_, &state);
  if (query != ncclSuccess) state = query;
  if (state == ncclSuccess || state == ncclInProgress) return "";
  return text_of("a collective of NCCL failed: ", ncclGetErrorString(state), ": ", ncclGetLastError(communicator_),
                 ". A peer may be gone: see the first error in the job's log");
}

Place NcclGroup::look() {
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock) return {};  // a call is being taken in, which has a time limit of its own
  if (std::string failure = failure_so_far(); !failure.empty()) return {"", 0, std::move(failure)};
  if (last_.done && streams_->is_over(*last_.done)) last_.done.reset();
  if (!last_.done) return {};
  return {last_.name, monotonic_s() - last_.since_s, ""};
}

NcclGroup::NcclGroup(std::unique_ptr<Group> control, std::unique_ptr<DeviceStreams> streams)
    : control_(std::move(control)), streams_(std::move(streams)) {
  ncclUniqueId id{};
  std::string bytes;
  agree_after(*control_, [&] {
    require_compiled_version();
    if (control_->rank() != 0) return;
    if (const auto result = ncclGetUniqueId(&id); result != ncclSuccess) fail(result, nullptr, "ncclGetUniqueId");
    bytes.assign(id.internal, sizeof id.internal);
  });
  bytes = control_->broadcast_bytes(bytes, 0);
  std::memcpy(id.internal, bytes.data(), sizeof id.internal);

  const c10::DeviceGuard guard(streams_->device());
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;  // so that a lost peer is an error after a while, not a hang
  try {
    agree_after(*control_, [&] {
      finish(ncclCommInitRankConfig(&communicator_, control_->size(), id, control_->rank(), &config), communicator_,
             "ncclCommInitRankConfig");
    });
  } catch (...) {
    if (communicator_ != nullptr) ncclCommAbort(communicator_);
    throw;
  }
  watched_ = std::make_unique<WatchedDevice>([this] { return look(); });
}

NcclGroup::~NcclGroup() {
  watched_.reset();
  if (std::uncaught_exceptions() > 0) {
    ncclCommAbort(communicator_);  // peers may never answer
    return;
  }
  try {
    finish(ncclCommFinalize(communicator_), communicator_, "ncclCommFinalize");
    ncclCommDestroy(communicator_);
  } catch (const std::exception& error) {
    log::warning(error.what());
    ncclCommAbort(communicator_);
  }
}

std::unique_ptr<Pending> NcclGroup::do_start_reduce_scatter(at::Tensor& shard, const at::Tensor& full, ReduceOp op) {
  const cudaStream_t beside = streams_->communication();
  streams_->wait(beside, *streams_->record(streams_->current()));
  auto done = queue_reduce_scatter(shard, full, op, beside);
  streams_->keep_for_communication(shard);
  streams_->keep_for_communication(full);
  return std::make_unique<PendingOnStream>(*streams_, std::move(done));
}

void NcclGroup::do_all_to_all(at::Tensor& received, const std::vector<std::int64_t>& recv_rows, const at::Tensor& sent,
                              const std::vector<std::int64_t>& send_rows) {
  const auto num_ranks = static_cast<std::size_t>(size());
  queue("ncclSend/ncclRecv", {received, sent}, streams_->current(), [&](cudaStream_t stream) {
    auto* into = static_cast<std::byte*>(received.data_ptr());
    const auto* from = static_cast<const std::byte*>(sent.data_ptr());
    ncclResult_t result = ncclGroupStart();
    const auto keep_first = [&](ncclResult_t next) {
      if (result == ncclSuccess && next != ncclInProgress) result = next;
    };
    for (std::size_t peer = 0; peer < num_ranks; ++peer) {
      const auto send_bytes = static_cast<std::size_t>(send_rows[peer]) * row_bytes(sent);
      const auto recv_bytes = static_cast<std::size_t>(recv_rows[peer]) * row_bytes(received);
      if (send_bytes > 0)
        keep_first(ncclSend(from, send_bytes, ncclUint8, static_cast<int>(peer), communicator_, stream));
      if (recv_bytes > 0)
        keep_first(ncclRecv(into, recv_bytes, ncclUint8, static_cast<int>(peer), communicator_, stream));
      from += send_bytes;
      into += recv_bytes;
    }
    const ncclResult_t end = ncclGroupEnd();
    return result == ncclSuccess ? end : result;
  });
}

}  // namespace

std::unique_ptr<Group> make_nccl_group(std::unique_ptr<Group> control, std::unique_ptr<DeviceStreams> streams) {
  if (control->size() == 1) return make_self_group();
  return std::make_unique<NcclGroup>(std::move(control), std::move(streams));
}

std::string nccl_version() {
  const int version = loaded_version();
  return text_of(version / kMajorStep, ".", version % kMajorStep / kMinorStep, ".", version % kMinorStep);
}

}  // namespace osler::comm
