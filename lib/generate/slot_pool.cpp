#include "generate/slot_pool.hpp"

#include <numeric>

#include "base/error.hpp"

namespace osler::generate {

SlotPool::SlotPool(std::int64_t num_slots)
    : free_(static_cast<std::size_t>(num_slots)), holders_(static_cast<std::size_t>(num_slots), 0) {
  std::iota(free_.rbegin(), free_.rend(), 0);  // a prompt gets neighbours, in order
}

std::int32_t SlotPool::take() {
  OSLER_CHECK(!free_.empty(), "no slot is free of ", holders_.size());
  const std::int32_t slot = free_.back();
  free_.pop_back();
  holders_[static_cast<std::size_t>(slot)] = 1;
  return slot;
}

void SlotPool::share(std::span<const std::int32_t> slots) {
  for (const std::int32_t slot : slots) {
    OSLER_CHECK(holders_[static_cast<std::size_t>(slot)] > 0, "slot ", slot, " is free");
    ++holders_[static_cast<std::size_t>(slot)];
  }
}

void SlotPool::release(std::span<const std::int32_t> slots) {
  for (auto slot = slots.rbegin(); slot != slots.rend(); ++slot) {
    OSLER_CHECK(holders_[static_cast<std::size_t>(*slot)] > 0, "slot ", *slot, " is free");
    if (--holders_[static_cast<std::size_t>(*slot)] == 0) free_.push_back(*slot);
  }
}

}  // namespace osler::generate
