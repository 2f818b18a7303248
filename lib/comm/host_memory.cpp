#include "comm/host_memory.hpp"

#include <cstdlib>
#include <limits>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace osler::comm {

// Why: glibc hands every large block back to the kernel, and a training step allocates and frees its activations anew,
// so that each step has the kernel zero gigabytes again. A loop with a step's sizes (8 layers of 8-29 MB blocks, one of
// 64 MB, one thread, Debian 12), per round:
//   as shipped                          120 ms, 28,400 page faults, 50 ms of it in the kernel, peak 1.06 GB
//   no mmap, no trim                     80 ms,    410 page faults,  1 ms,                     peak 1.03 GB
//   and LibTorch's transparent pages     44 ms,     53 page faults,  1 ms,                     peak 1.19 GB
void keep_freed_memory() {
#ifdef __GLIBC__
  constexpr int kGrowthBytes = 64 << 20;  // the heap grows rarely, and in whole large pages
  bool set_by_user = std::getenv("GLIBC_TUNABLES") != nullptr;
  for (const char* name : {"MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_"}) {
    set_by_user = set_by_user || std::getenv(name) != nullptr;
  }
  if (!set_by_user) {
    mallopt(M_MMAP_MAX, 0);
    mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
    mallopt(M_TOP_PAD, kGrowthBytes);
  }
#endif
  setenv("THP_MEM_ALLOC_ENABLE", "1", /*overwrite=*/0);
}

}  // namespace osler::comm
