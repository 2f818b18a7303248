#include "comm/mpi_group.hpp"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/error.hpp"
#include "base/trace.hpp"
#include "comm/mpi_channel.hpp"
#include "comm/progress_thread.hpp"
#include "comm/watchdog.hpp"

namespace osler::comm {
namespace {

template <class Value>
Value combined(const std::vector<Value>& values, ReduceOp op) {
  Value result = values.front();
  for (std::size_t i = 1; i < values.size(); ++i) {
    const Value value = values[i];
    const bool is_nan = value != value;
    if (op == ReduceOp::sum) {
      result += value;
    } else if (is_nan || (op == ReduceOp::max ? value > result : value < result)) {
      result = result != result ? result : value;  // NaN wins, as in torch
    }
  }
  return result;
}

std::vector<plan::Range> equal_ranges(std::int64_t part, int size) {
  std::vector<plan::Range> ranges;
  for (int r = 0; r < size; ++r) ranges.push_back({r * part, (r + 1) * part});
  return ranges;
}

std::vector<Bytes> spans_of_rows(const at::Tensor& tensor, const std::vector<std::int64_t>& rows) {
  std::int64_t row_elements = 1;
  for (const auto extent : tensor.sizes().slice(1)) row_elements *= extent;
  std::vector<Bytes> spans;
  std::int64_t begin = 0;
  for (const auto count : rows) {
    spans.push_back(bytes_of(tensor, begin * row_elements, (begin + count) * row_elements));
    begin += count;
  }
  return spans;
}

class MpiGroup final : public Group {
 public:
  explicit MpiGroup(MPI_Comm communicator) : communicator_(communicator), channel_(communicator, Waiting::at_once) {}
  ~MpiGroup() override;

  int rank() const override { return channel_.rank(); }
  int size() const override { return channel_.size(); }

  void barrier() override {
    const CollectiveSection section("barrier");
    check_mpi(MPI_Barrier(communicator_), "MPI_Barrier");
  }
  std::string broadcast_bytes(const std::string& bytes, int root) override;
  std::vector<std::string> all_gather_bytes(const std::string& bytes) override;
  double all_reduce_value(double value, ReduceOp op) override {
    return combined(all_gather_value(value, MPI_DOUBLE), op);
  }
  std::int64_t all_reduce_value(std::int64_t value, ReduceOp op) override {
    return combined(all_gather_value(value, MPI_INT64_T), op);
  }
  std::unique_ptr<Group> split(int color, int key) override;

 protected:
  void do_all_reduce(at::Tensor& tensor, ReduceOp op) override;
  void do_reduce_scatter(at::Tensor& shard, const at::Tensor& full, ReduceOp op) override;
  std::unique_ptr<Pending> do_start_reduce_scatter(at::Tensor& shard, const at::Tensor& full, ReduceOp op) override;
  void do_all_gather(at::Tensor& full, const at::Tensor& shard) override;
  void do_all_to_all(at::Tensor& received, const std::vector<std::int64_t>& recv_rows, const at::Tensor& sent,
                     const std::vector<std::int64_t>& send_rows) override;
  void do_broadcast(at::Tensor& tensor, int root) override;

 private:
  template <class Value>
  std::vector<Value> all_gather_value(Value value, MPI_Datatype type) {
    const CollectiveSection section("all_reduce_value");
    std::vector<Value> values(static_cast<std::size_t>(size()));
    check_mpi(MPI_Allgather(&value, 1, type, values.data(), 1, type, communicator_), "MPI_Allgather");
    return values;
  }
  void check_tensor(const at::Tensor& tensor) const {
    OSLER_CHECK(tensor.is_contiguous() && tensor.device().is_cpu(), "host collectives take contiguous host tensors");
  }
  void broadcast_span(Bytes bytes, int root);

  MPI_Comm communicator_;
  MpiChannel channel_;
  MPI_Comm thread_communicator_ = MPI_COMM_NULL;
  std::unique_ptr<ProgressThread> thread_;  ///< from the first started collective on
};

MpiGroup::~MpiGroup() {
  thread_.reset();
  int finalized = 0;
  MPI_Finalized(&finalized);
  // Freeing is collective: with an exception in flight the others may be elsewhere.
  if (finalized || std::uncaught_exceptions() > 0) return;
  if (thread_communicator_ != MPI_COMM_NULL) MPI_Comm_free(&thread_communicator_);
  MPI_Comm_free(&communicator_);
}

void MpiGroup::do_all_reduce(at::Tensor& tensor, ReduceOp op) {
  check_tensor(tensor);
  const at::Tensor flat = tensor.view(-1);
  std::vector<plan::Range> ranges;
  for (int r = 0; r < size(); ++r) ranges.push_back(plan::split_range(flat.numel(), size(), r));
  const plan::Range own = ranges[static_cast<std::size_t>(rank())];
  const at::Tensor part = flat.narrow(0, own.begin, own.size());
  channel_.reduce_range(part, flat, ranges, op);
  channel_.gather_ranges(flat, part, ranges);
}

void MpiGroup::do_reduce_scatter(at::Tensor& shard, const at::Tensor& full, ReduceOp op) {
  check_tensor(shard);
  check_tensor(full);
  channel_.reduce_range(shard.view(-1), full.view(-1), equal_ranges(shard.numel(), size()), op);
}

std::unique_ptr<Pending> MpiGroup::do_start_reduce_scatter(at::Tensor& shard, const at::Tensor& full, ReduceOp op) {
  if (!threads_may_communicate()) {
    do_reduce_scatter(shard, full, op);
    return std::make_unique<Done>();
  }
  check_tensor(shard);
  check_tensor(full);
  if (!thread_) {
    check_mpi(MPI_Comm_dup(communicator_, &thread_communicator_), "MPI_Comm_dup");
    thread_ = std::make_unique<ProgressThread>();
  }
  return thread_->run([channel = MpiChannel(thread_communicator_, Waiting::beside_others), into = shard.view(-1),
                       from = full.view(-1), op] {
    const CollectiveSection section("started reduce_scatter");
    const trace::Span span("reduce_scatter", trace::Lane::communication);
    channel.reduce_range(into, from, equal_ranges(into.numel(), channel.size()), op);
  });
}

void MpiGroup::do_all_gather(at::Tensor& full, const at::Tensor& shard) {
  check_tensor(shard);
  check_tensor(full);
  channel_.gather_ranges(full.view(-1), shard.view(-1), equal_ranges(shard.numel(), size()));
}

void MpiGroup::do_all_to_all(at::Tensor& received, const std::vector<std::int64_t>& recv_rows, const at::Tensor& sent,
                             const std::vector<std::int64_t>& send_rows) {
  check_tensor(received);
  check_tensor(sent);
  channel_.exchange(spans_of_rows(sent, send_rows), spans_of_rows(received, recv_rows));
}

void MpiGroup::broadcast_span(Bytes bytes, int root) {
  for (std::int64_t done = 0; done < bytes.size; done += kMessageBytes) {
    const auto count = static_cast<int>(std::min(kMessageBytes, bytes.size - done));
    check_mpi(MPI_Bcast(bytes.data + done, count, MPI_BYTE, root, communicator_), "MPI_Bcast");
  }
}

void MpiGroup::do_broadcast(at::Tensor& tensor, int root) {
  check_tensor(tensor);
  broadcast_span(bytes_of(tensor, 0, tensor.numel()), root);
}

std::string MpiGroup::broadcast_bytes(const std::string& bytes, int root) {
  const CollectiveSection section("broadcast_bytes");
  auto length = static_cast<std::int64_t>(bytes.size());
  check_mpi(MPI_Bcast(&length, 1, MPI_INT64_T, root, communicator_), "MPI_Bcast");
  std::string result = rank() == root ? bytes : std::string(static_cast<std::size_t>(length), '\0');
  broadcast_span({reinterpret_cast<std::byte*>(result.data()), length}, root);
  return result;
}

std::vector<std::string> MpiGroup::all_gather_bytes(const std::string& bytes) {
  const CollectiveSection section("all_gather_bytes");
  const auto lengths = all_gather_value(static_cast<std::int64_t>(bytes.size()), MPI_INT64_T);
  std::string own = bytes;
  const std::vector<Bytes> to(lengths.size(),
                              {reinterpret_cast<std::byte*>(own.data()), lengths[static_cast<std::size_t>(rank())]});
  std::vector<std::string> result;
  for (const auto length : lengths) result.emplace_back(static_cast<std::size_t>(length), '\0');
  std::vector<Bytes> from;
  for (auto& text : result)
    from.push_back({reinterpret_cast<std::byte*>(text.data()), static_cast<std::int64_t>(text.size())});
  channel_.exchange(to, from);
  return result;
}

std::unique_ptr<Group> MpiGroup::split(int color, int key) {
  const CollectiveSection section("split");
  MPI_Comm part = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split(communicator_, color, key, &part), "MPI_Comm_split");
  int part_size = 0;
  check_mpi(MPI_Comm_size(part, &part_size), "MPI_Comm_size");
  if (part_size > 1) return std::make_unique<MpiGroup>(part);
  MPI_Comm_free(&part);
  return make_self_group();
}

}  // namespace

std::unique_ptr<Group> make_mpi_group() {
  MPI_Comm communicator = MPI_COMM_NULL;
  check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &communicator), "MPI_Comm_dup");
  return std::make_unique<MpiGroup>(communicator);
}

}  // namespace osler::comm
