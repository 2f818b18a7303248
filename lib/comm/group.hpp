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
  /// On the host: blocks until it is done and throws what went wrong in it. On a GPU: the current stream goes on after
  /// it. Once.
  virtual void wait() = 0;
};

/// One that is over already.
class Done final : public Pending {
 public:
  void wait() override {}
};

/// Bytes that this rank has sent to other ranks in tensor collectives; the control plane is not counted. n ranks:
///   all_gather, reduce_scatter  (n - 1) * bytes of the shard
///   all_reduce                  bytes + (n - 2) * bytes of this rank's part of plan::split_range: the parts of others,
///                               then the reduced part to n - 1 ranks
///   all_to_all                  bytes of the rows that go to others
///   broadcast                   (n - 1) * bytes at the root
struct Traffic {
  std::int64_t all_reduce = 0;
  std::int64_t reduce_scatter = 0;
  std::int64_t all_gather = 0;
  std::int64_t all_to_all = 0;
  std::int64_t broadcast = 0;

  std::int64_t total() const { return all_reduce + reduce_scatter + all_gather + all_to_all + broadcast; }
  bool operator==(const Traffic&) const = default;
};

/// The public functions check, trace and count, the same for all kinds of groups; the kinds override the protected
/// ones.
class Group {
 public:
  Group();
  virtual ~Group() = default;
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  // --- tensors: contiguous, on the group's device; same shape and dtype on every rank. On a GPU the work is queued on
  // the current stream.
  /// In place, equal on all ranks. *Collective.* On the host bf16 and fp16 are summed in fp32 and rounded once, and
  /// every sum runs in rank order, so that it depends on nothing but the addends; NCCL chooses its own order and
  /// precision.
  void all_reduce(at::Tensor& tensor, ReduceOp op);
  /// full [size * n] -> shard [n]: rank r gets the reduction of the r-th part. `shard` may be the r-th part of `full`,
  /// which is then reduced in place; the other parts keep what they held. *Collective.*
  void reduce_scatter(at::Tensor& shard, const at::Tensor& full, ReduceOp op);
  /// The same result, bit for bit, while the caller goes on. Both tensors stay as they are until wait(). Several may be
  /// under way, started in the same order on all ranks; other collectives may run meanwhile. *Collective.*
  std::unique_ptr<Pending> start_reduce_scatter(at::Tensor& shard, const at::Tensor& full, ReduceOp op);
  /// shard [n] -> full [size * n]; `shard` may be the r-th part of `full`. *Collective.*
  void all_gather(at::Tensor& full, const at::Tensor& shard);
  /// Rows of dim 0: send_rows[r] rows go to rank r, recv_rows[r] come from it. *Collective.*
  void all_to_all(at::Tensor& received, const std::vector<std::int64_t>& recv_rows, const at::Tensor& sent,
                  const std::vector<std::int64_t>& send_rows);
  void broadcast(at::Tensor& tensor, int root);  ///< *collective*

  const Traffic& traffic() const { return traffic_; }
  /// Before each collective on tensors the ranks compare what they are about to do; when two differ all throw a
  /// CommError that names them and both intentions, instead of hanging or mixing data. On from the start in builds
  /// without NDEBUG (dev, asan); off in release, where it costs a branch. Set alike on all ranks.
  void check_sequence(bool on) { checks_sequence_ = on; }

  // --- control plane: host values
  virtual void barrier() = 0;
  virtual std::string broadcast_bytes(const std::string& bytes, int root) = 0;      ///< *collective*
  virtual std::vector<std::string> all_gather_bytes(const std::string& bytes) = 0;  ///< *collective*; by rank
  virtual double all_reduce_value(double value, ReduceOp op) = 0;                   ///< *collective*
  virtual std::int64_t all_reduce_value(std::int64_t value, ReduceOp op) = 0;       ///< *collective*

  /// Ranks with the same colour form a new group, ordered by key. *Collective over this group.*
  virtual std::unique_ptr<Group> split(int color, int key) = 0;

 protected:
  virtual void do_all_reduce(at::Tensor& tensor, ReduceOp op) = 0;
  virtual void do_reduce_scatter(at::Tensor& shard, const at::Tensor& full, ReduceOp op) = 0;
  virtual std::unique_ptr<Pending> do_start_reduce_scatter(at::Tensor& shard, const at::Tensor& full, ReduceOp op) = 0;
  virtual void do_all_gather(at::Tensor& full, const at::Tensor& shard) = 0;
  virtual void do_all_to_all(at::Tensor& received, const std::vector<std::int64_t>& recv_rows, const at::Tensor& sent,
                             const std::vector<std::int64_t>& send_rows) = 0;
  virtual void do_broadcast(at::Tensor& tensor, int root) = 0;

 private:
  template <class Describe>
  void enter(const Describe& describe);
  void require_same(const std::string& intent);

  Traffic traffic_;
  bool checks_sequence_;
  std::int64_t sequence_ = 0;  ///< collectives on tensors so far
};

/// One rank, no communication.
std::unique_ptr<Group> make_self_group();
/// One that lives as long as the program, for whoever has nobody to talk to.
Group& self_group();

/// Every rank says whether it failed; all ranks throw the lowest failing rank's error (its message and exit code), or
/// none does. `failure` is empty for success. What is thrown is of the type that belongs to the exit code (ConfigError,
/// DataError, ...) and is_agreed(). *Collective.*
void agree(Group& group, const std::exception_ptr& failure);

/// Throws one ConfigError on all ranks when `value` is not the same everywhere, naming the two lowest ranks that
/// differ; `what` says whose it is ("the configuration") and `remedy` what to do. *Collective.*
void require_same(Group& group, const std::string& what, const std::string& value, const std::string& remedy);

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
