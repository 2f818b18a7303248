#include "eval/python_random.hpp"

#include <bit>
#include <cmath>
#include <numeric>
#include <set>

#include "base/error.hpp"

namespace osler::eval {

PythonRandom::PythonRandom(std::uint64_t seed) {
  std::vector<std::uint32_t> key{static_cast<std::uint32_t>(seed)};
  if (seed >> 32 != 0) key.push_back(static_cast<std::uint32_t>(seed >> 32));
  state_[0] = 19650218;
  for (std::size_t i = 1; i < kSize; ++i)
    state_[i] = 1812433253u * (state_[i - 1] ^ (state_[i - 1] >> 30)) + static_cast<std::uint32_t>(i);
  std::size_t i = 1;
  const auto advance = [&] {
    if (++i < kSize) return;
    state_[0] = state_[kSize - 1];
    i = 1;
  };
  for (std::size_t k = 0; k < kSize; ++k) {
    const std::size_t j = k % key.size();
    state_[i] =
        (state_[i] ^ ((state_[i - 1] ^ (state_[i - 1] >> 30)) * 1664525u)) + key[j] + static_cast<std::uint32_t>(j);
    advance();
  }
  for (std::size_t k = 0; k < kSize - 1; ++k) {
    state_[i] = (state_[i] ^ ((state_[i - 1] ^ (state_[i - 1] >> 30)) * 1566083941u)) - static_cast<std::uint32_t>(i);
    advance();
  }
  state_[0] = 0x80000000u;
}

std::uint32_t PythonRandom::next_u32() {
  constexpr std::size_t kMiddle = 397;
  if (next_ == kSize) {
    for (std::size_t k = 0; k < kSize; ++k) {
      const std::uint32_t y = (state_[k] & 0x80000000u) | (state_[(k + 1) % kSize] & 0x7fffffffu);
      state_[k] = state_[(k + kMiddle) % kSize] ^ (y >> 1) ^ ((y & 1) != 0 ? 0x9908b0dfu : 0u);
    }
    next_ = 0;
  }
  std::uint32_t y = state_[next_++];
  y ^= y >> 11;
  y ^= (y << 7) & 0x9d2c5680u;
  y ^= (y << 15) & 0xefc60000u;
  return y ^ (y >> 18);
}

std::size_t PythonRandom::below(std::size_t bound) {
  const int num_bits = std::bit_width(bound);
  OSLER_CHECK(bound > 0 && num_bits <= 32, bound);
  std::size_t drawn = 0;
  do drawn = next_u32() >> (32 - num_bits);
  while (drawn >= bound);
  return drawn;
}

std::vector<std::size_t> PythonRandom::sample(std::size_t size, std::size_t count) {
  OSLER_CHECK(count <= size, count, " of ", size);
  // Where Python changes from a pool to a set is part of the sequence.
  std::size_t pool_limit = 21;
  if (count > 5)
    pool_limit +=
        static_cast<std::size_t>(std::pow(4, std::ceil(std::log(static_cast<double>(3 * count)) / std::log(4.0))));
  std::vector<std::size_t> drawn;
  if (size <= pool_limit) {
    std::vector<std::size_t> pool(size);
    std::iota(pool.begin(), pool.end(), std::size_t{0});
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t j = below(size - i);
      drawn.push_back(pool[j]);
      pool[j] = pool[size - i - 1];
    }
    return drawn;
  }
  std::set<std::size_t> seen;
  while (drawn.size() < count) {
    const std::size_t j = below(size);
    if (seen.insert(j).second) drawn.push_back(j);
  }
  return drawn;
}

}  // namespace osler::eval
