#include "comm/world.hpp"

#define OMPI_SKIP_MPICXX 1
#define MPICH_SKIP_MPICXX 1
#include <mpi.h>
#include <unistd.h>

#include <ATen/Parallel.h>
#include <c10/cuda/CUDAFunctions.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <thread>
#include <vector>

#include "base/error.hpp"
#include "base/log.hpp"
#include "comm/cores.hpp"
#include "comm/host_memory.hpp"
#include "comm/mpi_group.hpp"
#include "comm/nccl_group.hpp"
#include "comm/watchdog.hpp"

namespace osler::comm {
namespace {

/// MPI_Abort may wait for a launcher's daemon that is gone.
constexpr std::chrono::seconds kAbortTime{10};

int int_from_environment(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? 0 : std::atoi(text);
}

bool is_set(const char* name) {
  return std::getenv(name) != nullptr;
}

/// Set by the launchers of Open MPI, PMIx (srun --mpi=pmix) and PMI (MPICH, Intel, Cray, srun --mpi=pmi2).
bool started_by_launcher() {
  return is_set("OMPI_COMM_WORLD_SIZE") || is_set("PMIX_RANK") || is_set("PMI_RANK") || is_set("PMI_FD");
}

/// How many ranks the launcher says it started; 0 when it does not say.
int ranks_announced() {
  return std::max({int_from_environment("OMPI_COMM_WORLD_SIZE"), int_from_environment("PMI_SIZE"),
                   is_set("SLURM_STEP_ID") ? int_from_environment("SLURM_STEP_NUM_TASKS") : 0});
}

void require_all_ranks(int found) {
  const int announced = ranks_announced();
  if (announced > 1 && found != announced) {
    throw CommError(
        "the launcher started ", announced, " ranks but this process sees ", found,
        ": launch with the mpirun of the MPI that osler was built with (osler --version), or with srun --mpi=pmix");
  }
}

/// Equal for processes under one kernel; host names may repeat among containers.
std::string node_identity() {
  std::string boot;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot;
  return World::host_name() + " " + boot;
}

int initialize_mpi(int& argc, char**& argv) {
  int provided = 0;
  // MULTIPLE: a watchdog or a writer thread may talk on a communicator of its own.
  if (MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided) != MPI_SUCCESS)
    throw CommError("MPI_Init_thread failed");
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  if (provided < MPI_THREAD_FUNNELED) throw CommError("this MPI cannot be used from a program with threads");
  int size = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  return size;
}

}  // namespace

struct World::State {
  bool owns_mpi = false;
  std::unique_ptr<Group> host;
  std::unique_ptr<Group> device_group;  ///< null on CPU: the host group serves
  c10::Device device{c10::DeviceType::CPU};
  std::unique_ptr<Watchdog> watchdog;
  int local_rank = 0;
  int local_size = 1;
  int share_of_cores = 1;
};

World::World(int& argc, char**& argv) : state_(std::make_unique<State>()) {
  keep_freed_memory();
  if (started_by_launcher()) {
    require_all_ranks(initialize_mpi(argc, argv));
    state_->owns_mpi = true;
    state_->host = make_mpi_group();
  } else {
    require_all_ranks(1);
    state_->host = make_self_group();
  }

  std::vector<std::string> masks;
  std::size_t mine = 0;
  const auto nodes = host().all_gather_bytes(node_identity());
  const auto all_masks = host().all_gather_bytes(core_mask());
  const auto rank = static_cast<std::size_t>(host().rank());
  for (std::size_t r = 0; r < nodes.size(); ++r) {
    if (nodes[r] != nodes[rank]) continue;
    if (r == rank) mine = masks.size();
    masks.push_back(all_masks[r]);
  }
  state_->local_rank = static_cast<int>(mine);
  state_->local_size = static_cast<int>(masks.size());
  state_->share_of_cores = fair_share_of_cores(masks, mine);

  log::set_identity(host().rank(), host().size(),
                    text_of("rank ", host().rank(), "/", host().size(), " ", host_name()));
  // Launchers may show each rank its own GPU only, or all of them; NCCL refuses two ranks on one.
  if (const int count = c10::cuda::device_count(); count > 0) {
    state_->device = c10::Device(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(state_->local_rank % count));
    c10::cuda::set_device(state_->device.index());
  }
  set_threads(0);
}

World::~World() {
  if (std::uncaught_exceptions() > 0) return;
  state_->watchdog.reset();
  state_->device_group.reset();
  state_->host.reset();
  if (state_->owns_mpi) MPI_Finalize();
}

Group& World::host() {
  return *state_->host;
}

Group& World::ranks() {
  if (!state_->device.is_cuda()) return host();
  if (!state_->device_group)
    state_->device_group = make_nccl_group(host().split(0, host().rank()), make_cuda_streams(state_->device));
  return *state_->device_group;
}

c10::Device World::device() const {
  return state_->device;
}
int World::local_rank() const {
  return state_->local_rank;
}
int World::local_size() const {
  return state_->local_size;
}

void World::set_threads(int threads) {
  if (threads <= 0) threads = int_from_environment("OMP_NUM_THREADS");
  if (threads <= 0) threads = state_->share_of_cores;
  at::set_num_threads(threads);
}

int World::launcher_rank() {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"}) {
    if (is_set(name)) return int_from_environment(name);
  }
  return is_set("SLURM_STEP_ID") ? int_from_environment("SLURM_PROCID") : 0;
}

void World::watch_peers(double timeout_s) {
  state_->watchdog = std::make_unique<Watchdog>(host(), timeout_s);
}

std::string World::host_name() {
  char name[256] = {};
  gethostname(name, sizeof name - 1);
  return name;
}

std::string World::mpi_version() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = {};
  int length = 0;
  MPI_Get_library_version(text, &length);
  const std::string version(text, static_cast<std::size_t>(length));
  return version.substr(0, version.find_first_of(",\n"));
}

void World::abort(int code) {
  std::thread([code] {
    std::this_thread::sleep_for(kAbortTime);
    std::_Exit(code);
  }).detach();
  int initialized = 0;
  int finalized = 0;
  MPI_Initialized(&initialized);
  MPI_Finalized(&finalized);
  if (initialized && !finalized) MPI_Abort(MPI_COMM_WORLD, code);
  std::_Exit(code);
}

}  // namespace osler::comm
