// Ranks of one communicator moving bytes and forming sums: what MpiGroup does in the caller and its progress thread
// beside it, each on a communicator of its own. A view: it owns nothing. Every function is collective over it.
#pragma once

#define OMPI_SKIP_MPICXX 1  // the C++ bindings of old MPIs: unused, and they warn
#define MPICH_SKIP_MPICXX 1
#include <mpi.h>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "comm/group.hpp"
#include "plan/piece.hpp"

namespace osler::comm {

/// Throws CommError with MPI's own text unless `code` is success.
void check_mpi(int code, const char* call);

/// Whether this MPI lets several threads communicate at once. Local.
bool threads_may_communicate();

/// MPI counts are int: longer messages go in parts. A GiB each, so that a part never meets the limit.
inline constexpr std::int64_t kMessageBytes = std::int64_t{1} << 30;

struct Bytes {
  std::byte* data = nullptr;
  std::int64_t size = 0;
};
/// Elements [begin, end) of a contiguous tensor.
Bytes bytes_of(const at::Tensor& tensor, std::int64_t begin, std::int64_t end);

/// Whose time waiting takes: the caller has nothing else to do, or threads that compute share its cores.
enum class Waiting { at_once, beside_others };

class MpiChannel {
 public:
  MpiChannel(MPI_Comm communicator, Waiting waiting);

  MPI_Comm communicator() const { return communicator_; }
  int rank() const { return rank_; }
  int size() const { return size_; }

  /// Sends to[r] to rank r and fills from[r] from it, for all r; own part is copied unless it is in place.
  void exchange(const std::vector<Bytes>& to, const std::vector<Bytes>& from) const;
  /// into = reduction over ranks of full[ranges[rank]], in rank order; `into` may be that part of `full`.
  void reduce_range(const at::Tensor& into, const at::Tensor& full, const std::vector<plan::Range>& ranges,
                    ReduceOp op) const;
  /// Every rank's ranges[rank] of `full` to all; own `shard` goes to full[ranges[rank]].
  void gather_ranges(const at::Tensor& full, const at::Tensor& shard, const std::vector<plan::Range>& ranges) const;

 private:
  /// Completes all requests; peers[i] is at the other end of requests[i].
  void wait_for(std::vector<MPI_Request>& requests, const std::vector<int>& peers) const;
  void throw_failure(const std::vector<MPI_Status>& statuses, const std::vector<int>& completed,
                     const std::vector<int>& peers) const;

  MPI_Comm communicator_;
  Waiting waiting_;
  int rank_ = 0;
  int size_ = 1;
};

}  // namespace osler::comm
