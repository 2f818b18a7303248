#include "train/memory.hpp"

#include <c10/core/CachingDeviceAllocator.h>
#include <sys/resource.h>

namespace osler::train {

std::int64_t peak_memory_bytes(c10::Device device) {
  if (!device.is_cpu())
    return c10::getDeviceAllocator(device.type())->getDeviceStats(device.index()).allocated_bytes[0].peak;
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::int64_t>(usage.ru_maxrss) * 1024;  // Linux counts in KiB
}

}  // namespace osler::train
