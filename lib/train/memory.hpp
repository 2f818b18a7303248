// The most memory this process has held. Local.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>

namespace osler::train {

/// Highest number of bytes so far: held by the device's allocator, or resident in the process on a CPU.
std::int64_t peak_memory_bytes(c10::Device device);

}  // namespace osler::train
