// Counter-based random numbers: every draw is a pure function of its key, so that no draw depends on rank, layout,
// batch size or on how often a run restarted (docs/numerics.md).
// Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3" (Philox4x32-10).
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace osler {

/// What a draw is for; part of the key, so that streams of different purposes never meet. Values are stable: append
/// only.
enum class Purpose : std::uint32_t {
  init = 1,
  data_order = 2,
  neftune = 3,
  sampling = 4,
  option_order = 5,
  test = 6,
  exemplar = 7
};

/// Philox4x32-10: four words from a 128-bit counter and a 64-bit key.
std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key);

/// A stream of up to 2^34 words keyed by (seed, purpose, a, b). Copyable; equal keys give equal streams, and streams of
/// one seed with unequal keys share no Philox block.
class RandomStream {
 public:
  RandomStream(std::uint64_t seed, Purpose purpose, std::uint64_t a = 0, std::uint64_t b = 0);
  std::uint32_t next_u32();
  /// The next words, as next_u32() would give them one by one, several blocks at a time.
  void next_words(std::span<std::uint32_t> out);
  std::uint64_t next_u64();
  double uniform();                          ///< in [0, 1), 53 bits
  double normal();                           ///< mean 0, variance 1 (Box-Muller)
  std::uint64_t below(std::uint64_t bound);  ///< in [0, bound), unbiased; bound > 0

 private:
  std::array<std::uint32_t, 2> key_;
  std::array<std::uint32_t, 4> counter_;
  std::array<std::uint32_t, 4> block_{};
  int used_ = 4;
  bool exhausted_ = false;
  bool has_spare_ = false;
  double spare_ = 0;
};

/// A keyed permutation of [0, size) in O(1) memory (Feistel network with cycle walking).
class Permutation {
 public:
  Permutation(std::uint64_t size, std::uint64_t seed, Purpose purpose, std::uint64_t a = 0, std::uint64_t b = 0);
  std::uint64_t operator()(std::uint64_t index) const;  ///< throws InternalError when index >= size
  std::uint64_t size() const { return size_; }

 private:
  std::uint64_t size_;
  int half_bits_;
  std::array<std::uint32_t, 2> key_;
  std::array<std::uint32_t, 2> tweak_;
  std::uint32_t purpose_;
};

}  // namespace osler
