// Bytes of host tensors that are alive, and the most that were at once: what `osler plan` forecasts. Put in the place
// of LibTorch's allocator once a process, before the tensors that are to be counted.
#pragma once

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

namespace osler::tests {

class CountingAllocator final : public c10::Allocator {
 public:
  /// The one of this process; put in place on first use.
  static CountingAllocator& installed() {
    static CountingAllocator& instance = *[] {
      auto* counting = new CountingAllocator;  // outlives every tensor
      c10::SetCPUAllocator(counting, /*priority=*/255);
      return counting;
    }();
    return instance;
  }

  std::int64_t current_bytes() const { return current_; }
  std::int64_t peak_bytes() const { return peak_; }
  void forget_peak() { peak_ = current_.load(); }

  c10::DataPtr allocate(std::size_t size) override {
    auto* block = static_cast<std::byte*>(std::aligned_alloc(kHeader, (size + 2 * kHeader - 1) / kHeader * kHeader));
    if (block == nullptr) throw std::bad_alloc();
    *reinterpret_cast<std::size_t*>(block) = size;
    note(static_cast<std::int64_t>(size));
    void* data = block + kHeader;
    return {data, data, &release, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, std::size_t size) const override { std::memcpy(to, from, size); }

 private:
  static constexpr std::size_t kHeader = 64;  ///< the block's size stands before its data, which stay aligned

  CountingAllocator() = default;
  static void release(void* data) {
    auto* block = static_cast<std::byte*>(data) - kHeader;
    installed().note(-static_cast<std::int64_t>(*reinterpret_cast<std::size_t*>(block)));
    std::free(block);
  }
  void note(std::int64_t bytes) {
    const std::int64_t now = current_ += bytes;
    std::int64_t peak = peak_;
    while (now > peak && !peak_.compare_exchange_weak(peak, now)) {
    }
  }

  std::atomic<std::int64_t> current_{0}, peak_{0};
};

}  // namespace osler::tests
