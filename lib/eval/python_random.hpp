// random.Random of CPython 3.11 and later: lm-eval draws its exemplars with it, and equal prompts need equal draws.
// The one place where draws are not keyed: the draws of question i follow those of the i questions before it. Pure.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace osler::eval {

/// Source: CPython, Modules/_randommodule.c (MT19937, init_by_array) and Lib/random.py (sample).
class PythonRandom {
 public:
  explicit PythonRandom(std::uint64_t seed);
  /// random.sample(range(size), count): indices in the order drawn. Throws InternalError when count > size.
  std::vector<std::size_t> sample(std::size_t size, std::size_t count);

 private:
  std::uint32_t next_u32();
  std::size_t below(std::size_t bound);

  static constexpr std::size_t kSize = 624;
  std::array<std::uint32_t, kSize> state_{};
  std::size_t next_ = kSize;
};

}  // namespace osler::eval
