// Who holds which slot of a KeyValueCache: slots with a count of holders. Local, pure book-keeping.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace osler::generate {

class SlotPool {
 public:
  explicit SlotPool(std::int64_t num_slots);

  std::int64_t num_free() const { return static_cast<std::int64_t>(free_.size()); }
  std::int32_t take();                                ///< one holder; throws InternalError when none is free
  void share(std::span<const std::int32_t> slots);    ///< one holder more of each
  void release(std::span<const std::int32_t> slots);  ///< one less; those without any are free

 private:
  std::vector<std::int32_t> free_;  ///< the last is the next to be taken
  std::vector<std::int32_t> holders_;
};

}  // namespace osler::generate
