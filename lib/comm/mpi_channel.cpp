#include "comm/mpi_channel.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include "base/error.hpp"
#include "comm/watchdog.hpp"
#include "plan/collective.hpp"

namespace osler::comm {
namespace {

constexpr int kTag = 1;
/// ATen spreads longer operations over threads: those of a thread that works beside the computing ones stay below.
constexpr std::int64_t kSerialElements = std::int64_t{1} << 14;
/// A thread that works beside the computing ones pauses between looks, an eighth of the time it has waited already:
/// messages in flight go on within microseconds, a peer that comes late costs under 1 % of a core.
constexpr std::chrono::microseconds kShortestPause{10};
constexpr std::chrono::microseconds kLongestPause{1000};
constexpr int kPausesInWait = 8;
/// Looks between two pauses: a large message moves in fragments, a few per look.
constexpr int kLooks = 4;

std::string text_of_code(int code) {
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  MPI_Error_string(code, text, &length);
  return {text, static_cast<std::size_t>(length)};
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

/// into = addends[0] op addends[1] op ..., `block` elements at a time. `into` may be one of the addends; the first one
/// is overwritten unless it is `kept`.
void reduce_addends(const at::Tensor& into, const std::vector<at::Tensor>& addends, bool kept, ReduceOp op,
                    std::int64_t block) {
  const auto type = accumulation_type(into.scalar_type());
  for (std::int64_t begin = 0; begin < into.numel(); begin += block) {
    const std::int64_t count = std::min(block, into.numel() - begin);
    at::Tensor sum = addends.front().narrow(0, begin, count).to(type, /*non_blocking=*/false, /*copy=*/kept);
    for (std::size_t i = 1; i < addends.size(); ++i) combine(sum, addends[i].narrow(0, begin, count), op);
    into.narrow(0, begin, count).copy_(sum);
  }
}

}  // namespace

void check_mpi(int code, const char* call) {
  if (code != MPI_SUCCESS)
    throw CommError(call, " failed: ", text_of_code(code),
                    ". A peer may be gone: see the first error in the job's log");
}

bool threads_may_communicate() {
  int provided = MPI_THREAD_SINGLE;
  check_mpi(MPI_Query_thread(&provided), "MPI_Query_thread");
  return provided >= MPI_THREAD_MULTIPLE;
}

Bytes bytes_of(const at::Tensor& tensor, std::int64_t begin, std::int64_t end) {
  const auto width = static_cast<std::int64_t>(tensor.element_size());
  return {static_cast<std::byte*>(tensor.data_ptr()) + begin * width, (end - begin) * width};
}

MpiChannel::MpiChannel(MPI_Comm communicator, Waiting waiting) : communicator_(communicator), waiting_(waiting) {
  check_mpi(MPI_Comm_set_errhandler(communicator_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  check_mpi(MPI_Comm_rank(communicator_, &rank_), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(communicator_, &size_), "MPI_Comm_size");
}

void MpiChannel::throw_failure(const std::vector<MPI_Status>& statuses, const std::vector<int>& completed,
                               const std::vector<int>& peers) const {
  for (std::size_t i = 0; i < statuses.size(); ++i) {
    if (statuses[i].MPI_ERROR != MPI_SUCCESS)
      throw CommError("exchange with rank ", peers[static_cast<std::size_t>(completed[i])], " of ", size_,
                      " failed: ", text_of_code(statuses[i].MPI_ERROR));
  }
}

void MpiChannel::wait_for(std::vector<MPI_Request>& requests, const std::vector<int>& peers) const {
  const bool sleeps = waiting_ == Waiting::beside_others;
  const auto complete_some = sleeps ? MPI_Testsome : MPI_Waitsome;
  const auto count = static_cast<int>(requests.size());
  std::vector<int> completed(requests.size());
  std::vector<MPI_Status> statuses(requests.size());
  auto last_completed = std::chrono::steady_clock::now();
  int looks = 0;
  for (int left = count; left > 0;) {
    int num_completed = 0;
    const int code = complete_some(count, requests.data(), &num_completed, completed.data(), statuses.data());
    if (code == MPI_ERR_IN_STATUS) {
      statuses.resize(static_cast<std::size_t>(num_completed));
      throw_failure(statuses, completed, peers);
    }
    check_mpi(code, "MPI_Waitsome");
    left -= num_completed;
    const auto now = std::chrono::steady_clock::now();
    if (num_completed > 0) {
      last_completed = now;
      CollectiveSection::note_progress();
    } else if (++looks % kLooks == 0) {
      std::this_thread::sleep_for(
          std::clamp<std::chrono::nanoseconds>((now - last_completed) / kPausesInWait, kShortestPause, kLongestPause));
    }
  }
}

void MpiChannel::exchange(const std::vector<Bytes>& to, const std::vector<Bytes>& from) const {
  std::vector<MPI_Request> requests;
  std::vector<int> peers;
  const auto post = [&](int peer, Bytes bytes, auto start, const char* call) {
    for (std::int64_t done = 0; done < bytes.size; done += kMessageBytes) {
      requests.emplace_back();
      peers.push_back(peer);
      const auto count = static_cast<int>(std::min(kMessageBytes, bytes.size - done));
      check_mpi(start(bytes.data + done, count, MPI_BYTE, peer, kTag, communicator_, &requests.back()), call);
    }
  };
  // Staggered, so that not all ranks talk to rank 0 first.
  for (int distance = 1; distance < size_; ++distance) {
    const int peer = (rank_ - distance + size_) % size_;
    post(peer, from[static_cast<std::size_t>(peer)], MPI_Irecv, "MPI_Irecv");
  }
  for (int distance = 1; distance < size_; ++distance) {
    const int peer = (rank_ + distance) % size_;
    post(peer, to[static_cast<std::size_t>(peer)], MPI_Isend, "MPI_Isend");
  }
  const Bytes own_to = to[static_cast<std::size_t>(rank_)];
  const Bytes own_from = from[static_cast<std::size_t>(rank_)];
  OSLER_CHECK(own_to.size == own_from.size, "own part: ", own_to.size, " bytes sent, ", own_from.size, " expected");
  if (own_to.data != own_from.data && own_to.size > 0)
    std::memmove(own_from.data, own_to.data, static_cast<std::size_t>(own_to.size));
  wait_for(requests, peers);
}

void MpiChannel::reduce_range(const at::Tensor& into, const at::Tensor& full, const std::vector<plan::Range>& ranges,
                              ReduceOp op) const {
  const auto width = static_cast<std::int64_t>(full.element_size());
  const std::int64_t round = std::max<std::int64_t>(1, plan::kInboxBytes / width / size_);
  const std::int64_t block = waiting_ == Waiting::at_once ? round : kSerialElements;
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
    std::vector<at::Tensor> addends;
    for (int peer = 0; peer < size_; ++peer)
      addends.push_back(peer == rank_ ? full.narrow(0, own.begin + done, count) : inbox[peer].narrow(0, 0, count));
    reduce_addends(into.narrow(0, done, count), addends, /*kept=*/rank_ == 0, op, block);
  }
}

void MpiChannel::gather_ranges(const at::Tensor& full, const at::Tensor& shard,
                               const std::vector<plan::Range>& ranges) const {
  const std::vector<Bytes> to(static_cast<std::size_t>(size_), bytes_of(shard, 0, shard.numel()));
  std::vector<Bytes> from;
  for (const auto& range : ranges) from.push_back(bytes_of(full, range.begin, range.end));
  exchange(to, from);
}

}  // namespace osler::comm
