#include "base/random.hpp"

#include <cmath>
#include <limits>
#include <numbers>

#include "base/error.hpp"
#include "base/instruction_sets.hpp"

namespace osler {
namespace {

// Constants of Philox4x32 (Salmon et al. 2011, table 2 and section 3.2).
constexpr std::uint64_t kMultiplier0 = 0xD2511F53;
constexpr std::uint64_t kMultiplier1 = 0xCD9E8D57;
constexpr std::uint32_t kWeyl0 = 0x9E3779B9;
constexpr std::uint32_t kWeyl1 = 0xBB67AE85;
constexpr int kPhiloxRounds = 10;
// Four rounds with a strong round function make a pseudo-random permutation (Luby-Rackoff); two more for tiny domains.
constexpr int kFeistelRounds = 6;

std::uint32_t low(std::uint64_t value) {
  return static_cast<std::uint32_t>(value);
}
std::uint32_t high(std::uint64_t value) {
  return static_cast<std::uint32_t>(value >> 32);
}

/// One-to-one in (a, b) for a fixed seed, so that streams of one seed cannot meet.
std::array<std::uint32_t, 4> derive(std::uint64_t seed, std::uint64_t a, std::uint64_t b) {
  return philox({low(a), high(a), low(b), high(b)}, {low(seed), high(seed)});
}

constexpr std::size_t kBlocksAtOnce = 16;  // fills the widest registers

/// Words of kBlocksAtOnce blocks whose first counter words follow each other. Unrolled, so that compilers vectorise
/// over the blocks: a seventh of the time.
OSLER_CLONES void philox_blocks(std::array<std::uint32_t, 4> first, std::array<std::uint32_t, 2> key,
                                std::uint32_t* out) {
  std::uint32_t words[4][kBlocksAtOnce];
  for (std::size_t lane = 0; lane < kBlocksAtOnce; ++lane) {
    std::uint32_t word0 = first[0] + static_cast<std::uint32_t>(lane), word1 = first[1], word2 = first[2];
    std::uint32_t word3 = first[3], key0 = key[0], key1 = key[1];
#pragma GCC unroll 10
    for (int round = 0; round < kPhiloxRounds; ++round) {
      const std::uint64_t product0 = kMultiplier0 * word0;
      const std::uint64_t product1 = kMultiplier1 * word2;
      word0 = high(product1) ^ word1 ^ key0;
      word1 = low(product1);
      word2 = high(product0) ^ word3 ^ key1;
      word3 = low(product0);
      key0 += kWeyl0;
      key1 += kWeyl1;
    }
    words[0][lane] = word0;
    words[1][lane] = word1;
    words[2][lane] = word2;
    words[3][lane] = word3;
  }
  for (std::size_t lane = 0; lane < kBlocksAtOnce; ++lane)
    for (std::size_t w = 0; w < 4; ++w) out[4 * lane + w] = words[w][lane];
}

}  // namespace

std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const std::uint64_t product0 = kMultiplier0 * counter[0];
    const std::uint64_t product1 = kMultiplier1 * counter[2];
    counter = {high(product1) ^ counter[1] ^ key[0], low(product1), high(product0) ^ counter[3] ^ key[1],
               low(product0)};
    key[0] += kWeyl0;
    key[1] += kWeyl1;
  }
  return counter;
}

RandomStream::RandomStream(std::uint64_t seed, Purpose purpose, std::uint64_t a, std::uint64_t b) {
  const auto derived = derive(seed, a, b);
  key_ = {derived[0], derived[1]};
  counter_ = {0, static_cast<std::uint32_t>(purpose), derived[2], derived[3]};
}

std::uint32_t RandomStream::next_u32() {
  if (used_ == 4) {
    OSLER_CHECK(!exhausted_, "a random stream was asked for more than 2^34 words: give each use its own key");
    block_ = philox(counter_, key_);
    exhausted_ = ++counter_[0] == 0;
    used_ = 0;
  }
  return block_[used_++];
}

void RandomStream::next_words(std::span<std::uint32_t> out) {
  constexpr std::size_t kWords = 4 * kBlocksAtOnce;
  std::size_t done = 0;
  for (; done < out.size() && used_ < 4; ++done) out[done] = next_u32();
  // Where the counter's first word would wrap, next_u32() says so.
  while (out.size() - done >= kWords && counter_[0] <= std::numeric_limits<std::uint32_t>::max() - kBlocksAtOnce) {
    philox_blocks(counter_, key_, out.data() + done);
    counter_[0] += kBlocksAtOnce;
    done += kWords;
  }
  for (; done < out.size(); ++done) out[done] = next_u32();
}

std::uint64_t RandomStream::next_u64() {
  const std::uint64_t first = next_u32();
  return first | static_cast<std::uint64_t>(next_u32()) << 32;
}

double RandomStream::uniform() {
  return static_cast<double>(next_u64() >> 11) * 0x1.0p-53;
}

double RandomStream::normal() {
  if (has_spare_) {
    has_spare_ = false;
    return spare_;
  }
  const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));  // 1 - u is in (0, 1]: the log is finite
  const double angle = 2.0 * std::numbers::pi * uniform();
  spare_ = radius * std::sin(angle);
  has_spare_ = true;
  return radius * std::cos(angle);
}

std::uint64_t RandomStream::below(std::uint64_t bound) {
  OSLER_CHECK(bound > 0, "below(0) asks for a number in an empty range");
  const std::uint64_t threshold = (0 - bound) % bound;  // 2^64 mod bound: words below it would favour small results
  std::uint64_t word = next_u64();
  while (word < threshold) word = next_u64();
  return word % bound;
}

Permutation::Permutation(std::uint64_t size, std::uint64_t seed, Purpose purpose, std::uint64_t a, std::uint64_t b)
    : size_(size), half_bits_(1), purpose_(static_cast<std::uint32_t>(purpose)) {
  OSLER_CHECK(size <= std::uint64_t{1} << 62, "permutation of ", size, " elements");
  while ((std::uint64_t{1} << (2 * half_bits_)) < size) ++half_bits_;
  const auto derived = derive(seed, a, b);
  key_ = {derived[0], derived[1]};
  tweak_ = {derived[2], derived[3]};
}

std::uint64_t Permutation::operator()(std::uint64_t index) const {
  OSLER_CHECK(index < size_, "index ", index, " of a permutation of ", size_);
  const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
  // Cycle walking: the network permutes a power of four >= size; leave that cycle at its next element below size.
  do {
    std::uint64_t left = index >> half_bits_;
    std::uint64_t right = index & mask;
    for (int round = 0; round < kFeistelRounds; ++round) {
      // The top bit of the purpose word sets these calls apart from those of a RandomStream with the same key.
      const auto word =
          philox({low(right), purpose_ | static_cast<std::uint32_t>(round + 8) << 28, tweak_[0], tweak_[1]}, key_);
      const std::uint64_t mixed = left ^ (word[0] & mask);
      left = right;
      right = mixed;
    }
    index = left << half_bits_ | right;
  } while (index >= size_);
  return index;
}

}  // namespace osler
