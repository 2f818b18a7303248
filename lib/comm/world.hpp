// Owns MPI for the life of the process: initialises it when the program was started by a launcher, needs none when it
// was not, and picks the device, the threads and the tensor group that go with it. One per process.
#pragma once

#include <c10/core/Device.h>

#include <memory>
#include <string>

#include "comm/group.hpp"

namespace osler::comm {

class World {
 public:
  /// MPI_Init_thread under mpirun/srun; without a launcher a SelfGroup and no MPI at all. Picks CUDA device local_rank
  /// when one is visible, else CPU; sets threads as set_threads(0) and the log's identity. Throws CommError when the
  /// launcher started several ranks that cannot see each other (another MPI's mpirun, srun without --mpi=pmix).
  /// *Collective over the job.*
  World(int& argc, char**& argv);
  /// MPI_Finalize, unless an exception is in flight: then the others may be inside a collective, and abort() must
  /// follow.
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  /// All ranks, host tensors and control plane.
  Group& host();
  /// All ranks, tensors on device(): NcclGroup with a GPU, else the same ranks over MPI. *Collective on first use.*
  Group& ranks();
  c10::Device device() const;
  int local_rank() const;  ///< index of this rank on its node
  int local_size() const;  ///< ranks on this node
  /// Threads of tensor operations: `threads` if positive, else OMP_NUM_THREADS if set, else this rank's share of the
  /// cores it may run on.
  void set_threads(int threads);
  /// From now on a collective in which nothing moves for `timeout_s` ends the job with code 7 (comm/watchdog.hpp).
  /// *Collective over the job.*
  void watch_peers(double timeout_s);
  static std::string mpi_version();
  static std::string host_name();
  /// The rank that the launcher's environment names, 0 without one: to say something once before there is a world.
  static int launcher_rank();

  /// Ends every rank of the job with `code`, now. For failures that one rank alone meets between collectives. This
  /// process is gone within ten seconds even when MPI cannot reach the others.
  [[noreturn]] static void abort(int code);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace osler::comm
