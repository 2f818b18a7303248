// What this program was built from and runs with. OSLER_VERSION, OSLER_REVISION and OSLER_BUILD_TYPE come from the
// build.
#include <cuda_runtime_api.h>
#include <cudnn.h>
#include <torch/csrc/api/include/torch/version.h>

#include "base/text_of.hpp"
#include "comm/nccl_group.hpp"
#include "comm/world.hpp"
#include "store/library_version.hpp"
#include "verbs.hpp"

namespace osler::app {
namespace {

std::string compiler_version() {
#ifdef __clang__
  return __VERSION__;  // names itself
#else
  return text_of("GCC ", __VERSION__);
#endif
}

std::string cuda_version() {
  int version = 0;  // 13020 is 13.2
  if (cudaRuntimeGetVersion(&version) != cudaSuccess) return "unknown";
  return text_of(version / 1000, ".", version % 1000 / 10);
}

std::string cudnn_version() {
  const std::size_t version = cudnnGetVersion();  // 92000 is 9.20.0
  return text_of(version / 10000, ".", version % 10000 / 100, ".", version % 100);
}

}  // namespace

std::string version_text() {
  const std::string revision = OSLER_REVISION;
  std::string text = text_of("osler ", OSLER_VERSION, revision.empty() ? "" : " (" + revision + ")", "\n");
  text += text_of("  build     ", OSLER_BUILD_TYPE, ", ", compiler_version(), "\n");
  text += text_of("  LibTorch  ", TORCH_VERSION, "\n");
  text += text_of("  CUDA      ", cuda_version(), "\n");
  text += text_of("  cuDNN     ", cudnn_version(), "\n");
  text += text_of("  NCCL      ", comm::nccl_version(), "\n");
  text += text_of("  MPI       ", comm::World::mpi_version(), "\n");
  text += text_of("  HDF5      ", store::hdf5_version(), "\n");
  return text;
}

}  // namespace osler::app
