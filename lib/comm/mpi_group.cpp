#include "comm/mpi_group.hpp"

#define OMPI_SKIP_MPICXX 1  // the C++ bindings of old MPIs: unused, and they warn
#define MPICH_SKIP_MPICXX 1
#include <mpi.h>

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/error.hpp"
#include "plan/piece.hpp"

namespace osler::comm {
namespace {

constexpr int kTag = 1;
/// MPI counts are int: longer messages go in parts. A GiB each, so that a part never meets the limit.
constexpr std::int64_t kMessageBytes = std::int64_t{1} << 30;
/// Bytes received per round of a reduction, over all peers: small enough to be added while still in cache.
constexpr std::int64_t kRoundBytes = std::int64_t{4} << 20;

void check(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw CommError(call, " failed: ", std::string(text, static_cast<std::size_t>(length)),
                  ". A peer may be gone: see the first error in the job's log");
}

struct Bytes {
  std::byte* data = nullptr;
  std::int64_t size = 0;
};

Bytes bytes_of(const at::Tensor& tensor, std::int64_t begin, std::int64_t end) {
  const auto width = static_cast<std::int64_t>(tensor.element_size());
  return {static_cast<std::byte*>(tensor.data_ptr()) + begin * width, (end - begin) * width};
}

/// The type sums are formed in.
c10::ScalarType accumulation_type(c10::ScalarType type) {
  switch (type) {
    case c10::ScalarType::BFloat16:
    case c10::ScalarType::Half:
      return c10::ScalarType::Float;
    case c10::ScalarType::Float:
    case c10::ScalarType::Double:
    case c10::ScalarType::Int:
    case c10::ScalarType::Long:
      return type;
    default:
      throw InternalError("reductions of ", c10::toString(type), " are not defined");
  }
}

void combine(at::Tensor& into, const at::Tensor& addend, ReduceOp op) {
  switch (op) {
    case ReduceOp::sum:
      into.add_(addend);
      return;
    case ReduceOp::max:
      at::maximum_out(into, into, addend);
      return;
    case ReduceOp::min:
      at::minimum_out(into, into, addend);
      return;
  }
}

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

class MpiGroup final : public Group {
 public:
  explicit MpiGroup(MPI_Comm communicator) : communicator_(communicator) {
    check(MPI_Comm_set_errhandler(communicator_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
    check(MPI_Comm_rank(communicator_, &rank_), "MPI_Comm_rank");
    check(MPI_Comm_size(communicator_, &size_), "MPI_Comm_size");
  }
  ~MpiGroup() override {
    int finalized = 0;
    MPI_Finalized(&finalized);
    // Freeing is collective: with an exception in flight the others may be elsewhere.
    if (!finalized && std::uncaught_exceptions() == 0) MPI_Comm_free(&communicator_);
  }
  MpiGroup(const MpiGroup&) = delete;
  MpiGroup& operator=(const MpiGroup&) = delete;

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  void all_reduce(at::Tensor& tensor, ReduceOp op) override;
  void reduce_scatter(at::Tensor& shard, const at::Tensor& full, ReduceOp op) override;
  void all_gather(at::Tensor& full, const at::Tensor& shard) override;
  void all_to_all(at::Tensor& received, const std::vector<std::int64_t>& recv_rows, const at::Tensor& sent,
                  const std::vector<std::int64_t>& send_rows) override;
  void broadcast(at::Tensor& tensor, int root) override;

  void barrier() override { check(MPI_Barrier(communicator_), "MPI_Barrier"); }
  std::string broadcast_bytes(const std::string& bytes, int root) override;
  std::vector<std::string> all_gather_bytes(const std::string& bytes) override;
  double all_reduce_value(double value, ReduceOp op) override {
    return combined(all_gather_value(value, MPI_DOUBLE), op);
  }
  std::int64_t all_reduce_value(std::int64_t value, ReduceOp op) override {
    return combined(all_gather_value(value, MPI_INT64_T), op);
  }
  std::unique_ptr<Group> split(int color, int key) override;

 private:
  template <class Value>
  std::vector<Value> all_gather_value(Value value, MPI_Datatype type) {
    std::vector<Value> values(static_cast<std::size_t>(size_));
    check(MPI_Allgather(&value, 1, type, values.data(), 1, type, communicator_), "MPI_Allgather");
    return values;
  }
  void check_tensor(const at::Tensor& tensor) const {
    OSLER_CHECK(tensor.is_contiguous() && tensor.device().is_cpu(), "host collectives take contiguous host tensors");
  }
  /// Sends to[r] to rank r and fills from[r] from it, for all r; own part is copied unless it is in place.
  void exchange(const std::vector<Bytes>& to, const std::vector<Bytes>& from);
  /// into = reduction over ranks of full[ranges[rank]], in rank order.
  void reduce_range(const at::Tensor& into, const at::Tensor& full, const std::vector<plan::Range>& ranges,
                    ReduceOp op);
  /// Every rank's ranges[rank] of `full` to all; own `shard` goes to full[ranges[rank]].
  void gather_ranges(const at::Tensor& full, const at::Tensor& shard, const std::vector<plan::Range>& ranges);
  void broadcast_span(Bytes bytes, int root);

  MPI_Comm communicator_;
  int rank_ = 0;
  int size_ = 1;
};

void MpiGroup::exchange(const std::vector<Bytes>& to, const std::vector<Bytes>& from) {
  std::vector<MPI_Request> requests;
  const auto post = [&](Bytes bytes, auto start, const char* call) {
    for (std::int64_t done = 0; done < bytes.size; done += kMessageBytes) {
      requests.emplace_back();
      const auto count = static_cast<int>(std::min(kMessageBytes, bytes.size - done));
      check(start(bytes.data + done, count, &requests.back()), call);
    }
  };
  // Staggered, so that not all ranks talk to rank 0 first.
  for (int distance = 1; distance < size_; ++distance) {
    const int peer = (rank_ - distance + size_) % size_;
    post(
        from[static_cast<std::size_t>(peer)],
        [&](std::byte* data, int count, MPI_Request* request) {
          return MPI_Irecv(data, count, MPI_BYTE, peer, kTag, communicator_, request);
        },
        "MPI_Irecv");
  }
  for (int distance = 1; distance < size_; ++distance) {
    const int peer = (rank_ + distance) % size_;
    post(
        to[static_cast<std::size_t>(peer)],
        [&](const std::byte* data, int count, MPI_Request* request) {
          return MPI_Isend(data, count, MPI_BYTE, peer, kTag, communicator_, request);
        },
        "MPI_Isend");
  }
  const Bytes own_to = to[static_cast<std::size_t>(rank_)];
  const Bytes own_from = from[static_cast<std::size_t>(rank_)];
  OSLER_CHECK(own_to.size == own_from.size, "own part: ", own_to.size, " bytes sent, ", own_from.size, " expected");
  if (own_to.data != own_from.data && own_to.size > 0) {
    std::memmove(own_from.data, own_to.data, static_cast<std::size_t>(own_to.size));
  }
  check(MPI_Waitall(static_cast<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE), "MPI_Waitall");
}

void MpiGroup::reduce_range(const at::Tensor& into, const at::Tensor& full, const std::vector<plan::Range>& ranges,
                            ReduceOp op) {
  const auto type = full.scalar_type();
  const auto width = static_cast<std::int64_t>(full.element_size());
  const std::int64_t round = std::max<std::int64_t>(1, kRoundBytes / width / size_);
  std::int64_t longest = 0;
  for (const auto& range : ranges) longest = std::max(longest, range.size());
  const at::Tensor inbox = at::empty({size_, std::min(round, longest)}, full.options());
  const plan::Range own = ranges[static_cast<std::size_t>(rank_)];

  for (std::int64_t done = 0; done < longest; done += round) {
    std::vector<Bytes> to(static_cast<std::size_t>(size_));
    std::vector<Bytes> from(static_cast<std::size_t>(size_));
    const std::int64_t count = std::clamp<std::int64_t>(own.size() - done, 0, round);
    for (int peer = 0; peer < size_; ++peer) {
      const auto index = static_cast<std::size_t>(peer);
      if (peer == rank_) continue;  // read where it lies
      const plan::Range range = ranges[index];
      to[index] = bytes_of(full, range.begin + std::min(done, range.size()),
                           range.begin + std::min(done + round, range.size()));
      from[index] = bytes_of(inbox, peer * inbox.size(1), peer * inbox.size(1) + count);
    }
    exchange(to, from);
    if (count == 0) continue;
    const auto addend = [&](int peer) {
      return peer == rank_ ? full.narrow(0, own.begin + done, count) : inbox[peer].narrow(0, 0, count);
    };
    at::Tensor sum = addend(0).to(accumulation_type(type), /*non_blocking=*/false, /*copy=*/rank_ == 0);
    for (int peer = 1; peer < size_; ++peer) combine(sum, addend(peer), op);
    into.narrow(0, done, count).copy_(sum);
  }
}

void MpiGroup::gather_ranges(const at::Tensor& full, const at::Tensor& shard, const std::vector<plan::Range>& ranges) {
  const std::vector<Bytes> to(static_cast<std::size_t>(size_), bytes_of(shard, 0, shard.numel()));
  std::vector<Bytes> from;
  for (const auto& range : ranges) from.push_back(bytes_of(full, range.begin, range.end));
  exchange(to, from);
}

std::vector<plan::Range> equal_ranges(std::int64_t part, int size) {
  std::vector<plan::Range> ranges;
  for (int r = 0; r < size; ++r) ranges.push_back({r * part, (r + 1) * part});
  return ranges;
}

void MpiGroup::all_reduce(at::Tensor& tensor, ReduceOp op) {
  check_tensor(tensor);
  const at::Tensor flat = tensor.view(-1);
  std::vector<plan::Range> ranges;
  for (int r = 0; r < size_; ++r) ranges.push_back(plan::split_range(flat.numel(), size_, r));
  const plan::Range own = ranges[static_cast<std::size_t>(rank_)];
  const at::Tensor part = flat.narrow(0, own.begin, own.size());
  reduce_range(part, flat, ranges, op);
  gather_ranges(flat, part, ranges);
}

void MpiGroup::reduce_scatter(at::Tensor& shard, const at::Tensor& full, ReduceOp op) {
  check_tensor(shard);
  check_tensor(full);
  OSLER_CHECK(full.numel() == shard.numel() * size_ && full.scalar_type() == shard.scalar_type(), full.numel(),
              " elements into parts of ", shard.numel());
  reduce_range(shard.view(-1), full.view(-1), equal_ranges(shard.numel(), size_), op);
}

void MpiGroup::all_gather(at::Tensor& full, const at::Tensor& shard) {
  check_tensor(shard);
  check_tensor(full);
  OSLER_CHECK(full.numel() == shard.numel() * size_ && full.scalar_type() == shard.scalar_type(), full.numel(),
              " elements from parts of ", shard.numel());
  gather_ranges(full.view(-1), shard.view(-1), equal_ranges(shard.numel(), size_));
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
  OSLER_CHECK(begin == tensor.size(0), "all_to_all of ", begin, " rows, the tensor has ", tensor.size(0));
  return spans;
}

void MpiGroup::all_to_all(at::Tensor& received, const std::vector<std::int64_t>& recv_rows, const at::Tensor& sent,
                          const std::vector<std::int64_t>& send_rows) {
  check_tensor(received);
  check_tensor(sent);
  const auto size = static_cast<std::size_t>(size_);
  OSLER_CHECK(recv_rows.size() == size && send_rows.size() == size, "one row count per rank");
  exchange(spans_of_rows(sent, send_rows), spans_of_rows(received, recv_rows));
}

void MpiGroup::broadcast_span(Bytes bytes, int root) {
  for (std::int64_t done = 0; done < bytes.size; done += kMessageBytes) {
    const auto count = static_cast<int>(std::min(kMessageBytes, bytes.size - done));
    check(MPI_Bcast(bytes.data + done, count, MPI_BYTE, root, communicator_), "MPI_Bcast");
  }
}

void MpiGroup::broadcast(at::Tensor& tensor, int root) {
  check_tensor(tensor);
  broadcast_span(bytes_of(tensor, 0, tensor.numel()), root);
}

std::string MpiGroup::broadcast_bytes(const std::string& bytes, int root) {
  auto length = static_cast<std::int64_t>(bytes.size());
  check(MPI_Bcast(&length, 1, MPI_INT64_T, root, communicator_), "MPI_Bcast");
  std::string result = rank_ == root ? bytes : std::string(static_cast<std::size_t>(length), '\0');
  broadcast_span({reinterpret_cast<std::byte*>(result.data()), length}, root);
  return result;
}

std::vector<std::string> MpiGroup::all_gather_bytes(const std::string& bytes) {
  const auto lengths = all_gather_value(static_cast<std::int64_t>(bytes.size()), MPI_INT64_T);
  std::string own = bytes;
  const std::vector<Bytes> to(lengths.size(),
                              {reinterpret_cast<std::byte*>(own.data()), lengths[static_cast<std::size_t>(rank_)]});
  std::vector<std::string> result;
  for (const auto length : lengths) result.emplace_back(static_cast<std::size_t>(length), '\0');
  std::vector<Bytes> from;
  for (auto& text : result)
    from.push_back({reinterpret_cast<std::byte*>(text.data()), static_cast<std::int64_t>(text.size())});
  exchange(to, from);
  return result;
}

std::unique_ptr<Group> MpiGroup::split(int color, int key) {
  MPI_Comm part = MPI_COMM_NULL;
  check(MPI_Comm_split(communicator_, color, key, &part), "MPI_Comm_split");
  int part_size = 0;
  check(MPI_Comm_size(part, &part_size), "MPI_Comm_size");
  if (part_size > 1) return std::make_unique<MpiGroup>(part);
  MPI_Comm_free(&part);
  return make_self_group();
}

}  // namespace

std::unique_ptr<Group> make_mpi_group() {
  MPI_Comm communicator = MPI_COMM_NULL;
  check(MPI_Comm_dup(MPI_COMM_WORLD, &communicator), "MPI_Comm_dup");
  return std::make_unique<MpiGroup>(communicator);
}

}  // namespace osler::comm
