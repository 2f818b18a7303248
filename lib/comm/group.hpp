// A group of ranks and what they can do together. Every function marked *collective* is called by all ranks of the
// group in the same order; none throws between the start and the end of a communication on one rank only.
// SelfGroup (one rank, no communication), MpiGroup (host tensors), NcclGroup (device tensors; its control plane is MPI).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace osler::comm {

enum class ReduceOp { sum, max, min };

class Group {
 public:
  virtual ~Group() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  // --- tensors: contiguous, on the group's device; same shape and dtype on every rank
  /// In place. *Collective.* bf16 is summed in fp32 and rounded once.
  virtual void all_reduce(at::Tensor& tensor, ReduceOp op) = 0;
  /// full [size * n] -> shard [n]: rank r gets the reduction of the r-th part. *Collective.*
  virtual void reduce_scatter(at::Tensor& shard, const at::Tensor& full, ReduceOp op) = 0;
  /// shard [n] -> full [size * n]; `shard` may be the r-th part of `full`. *Collective.*
  virtual void all_gather(at::Tensor& full, const at::Tensor& shard) = 0;
  /// Rows of dim 0: send_rows[r] rows go to rank r, recv_rows[r] come from it. *Collective.*
  virtual void all_to_all(at::Tensor& received, const std::vector<std::int64_t>& recv_rows, const at::Tensor& sent,
                          const std::vector<std::int64_t>& send_rows) = 0;
  virtual void broadcast(at::Tensor& tensor, int root) = 0;

  // --- control plane: host values
  virtual void barrier() = 0;
  virtual std::string broadcast_bytes(const std::string& bytes, int root) = 0;        ///< *collective*
  virtual std::vector<std::string> all_gather_bytes(const std::string& bytes) = 0;    ///< *collective*; by rank
  virtual double all_reduce_value(double value, ReduceOp op) = 0;                     ///< *collective*
  virtual std::int64_t all_reduce_value(std::int64_t value, ReduceOp op) = 0;         ///< *collective*

  /// Ranks with the same colour form a new group, ordered by key. *Collective over this group.*
  virtual std::unique_ptr<Group> split(int color, int key) = 0;
};

/// One rank, no communication.
std::unique_ptr<Group> make_self_group();

/// Every rank says whether it failed; all ranks throw the lowest failing rank's error (its message and exit code), or
/// none does. `failure` is empty for success. *Collective.*
void agree(Group& group, const std::exception_ptr& failure);

/// Runs `work` on every rank, then agree(): set-up code that may fail on some ranks only. *Collective.*
template <class Work>
void agree_after(Group& group, Work&& work) {
  std::exception_ptr failure;
  try {
    work();
  } catch (...) {
    failure = std::current_exception();
  }
  agree(group, failure);
}

}  // namespace osler::comm
