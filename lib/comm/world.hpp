// Owns MPI for the life of the process: initialises it when the program was started by a launcher (or lazily as a
// single rank when it was not), and picks the device and the tensor groups that go with it.
#pragma once

#include <c10/core/Device.h>

#include <memory>
#include <string>

#include "comm/group.hpp"

namespace osler::comm {

class World {
 public:
  /// MPI_Init_thread under mpirun/srun; without a launcher a SelfGroup and no MPI at all. `threads` = 0 shares the
  /// node's cores among its ranks. Picks CUDA device local_rank when one is visible, else CPU.
  World(int& argc, char**& argv);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  /// All ranks, host tensors and control plane.
  Group& host();
  /// All ranks, tensors on device(): NcclGroup with a GPU, else the same ranks over MPI. *Collective on first use.*
  Group& ranks();
  c10::Device device() const;
  int local_rank() const;   ///< index of this rank on its node
  int local_size() const;   ///< ranks on this node
  void set_threads(int threads);
  std::string mpi_version() const;

  /// Ends every rank of the job with `code`, now. For failures that one rank alone meets between collectives.
  [[noreturn]] static void abort(int code);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace osler::comm
