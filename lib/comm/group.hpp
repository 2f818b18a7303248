// A group of ranks and what they can do together. Every function marked *collective* is called by all ranks of the
// group in the same order; none throws between the start and the end of a communication on one rank only.
// SelfGroup (one rank, no communication), MpiGroup (host tensors), NcclGroup (device tensors; its control plane is
// MPI).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <vector>

namespace osler::comm {

enum class ReduceOp { sum, max, min };

/// A collective under way.
class Pending {
 public:
  virtual ~Pending() = default;
  virtual void wait() = 0;
};
class Done final : public Pending {
 public:
  void wait() override {}
};

class Group {
 public:
  std::unique_ptr<Pending> start_reduce_scatter(at::Tensor& shard, const at::Tensor& full, ReduceOp op) {
    reduce_scatter(shard, full, op);
    return std::make_unique<Done>();
  }
  virtual ~Group() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  // --- tensors: contiguous, on the group's device; same shape and dtype on every rank. On a GPU the work is queued on
  // the current stream.
  /// In place, equal on all ranks. *Collective.* On the host bf16 and fp16 are summed in fp32 and rounded once, and
  /// every sum runs in rank order, so that it depends on nothing but the addends; NCCL chooses its own order and
  /// precision.
  virtual void all_reduce(at::Tensor& tensor, ReduceOp op) = 0;
  /// full [size * n] -> shard [n]: rank r gets the reduction of the r-th part. `shard` may be the r-th part of `full`,
  /// which is then reduced in place; the other parts keep what they held. *Collective.*
  virtual void reduce_scatter(at::Tensor& shard, const at::Tensor& full, ReduceOp op) = 0;
  /// shard [n] -> full [size * n]; `shard` may be the r-th part of `full`. *Collective.*
  virtual void all_gather(at::Tensor& full, const at::Tensor& shard) = 0;
  /// Rows of dim 0: send_rows[r] rows go to rank r, recv_rows[r] come from it. *Collective.*
  virtual void all_to_all(at::Tensor& received, const std::vector<std::int64_t>& recv_rows, const at::Tensor& sent,
                          const std::vector<std::int64_t>& send_rows) = 0;
  virtual void broadcast(at::Tensor& tensor, int root) = 0;

  // --- control plane: host values
  virtual void barrier() = 0;
  virtual std::string broadcast_bytes(const std::string& bytes, int root) = 0;      ///< *collective*
  virtual std::vector<std::string> all_gather_bytes(const std::string& bytes) = 0;  ///< *collective*; by rank
  virtual double all_reduce_value(double value, ReduceOp op) = 0;                   ///< *collective*
  virtual std::int64_t all_reduce_value(std::int64_t value, ReduceOp op) = 0;       ///< *collective*

  /// Ranks with the same colour form a new group, ordered by key. *Collective over this group.*
  virtual std::unique_ptr<Group> split(int color, int key) = 0;
};

/// One rank, no communication.
std::unique_ptr<Group> make_self_group();
/// One that lives as long as the program, for whoever has nobody to talk to.
Group& self_group();

/// Every rank says whether it failed; all ranks throw the lowest failing rank's error (its message and exit code), or
/// none does. `failure` is empty for success. What is thrown is of the type that belongs to the exit code (ConfigError,
/// DataError, ...) and is_agreed(). *Collective.*
void agree(Group& group, const std::exception_ptr& failure);

/// True for an error that agree() threw: every rank of the group holds the same one, so one of them reports it and all
/// can leave in order.
bool is_agreed(const std::exception& error);

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
