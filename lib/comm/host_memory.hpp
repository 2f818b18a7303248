// How the process gets its host memory. Local; call before tensors are made.
#pragma once

namespace osler::comm {

/// Keeps freed memory in the process, as CUDA's caching allocator does. Settings the user made in the environment
/// (MALLOC_*, GLIBC_TUNABLES) are left alone. No effect without glibc.
void keep_freed_memory();

}  // namespace osler::comm
