#include "parallel/row_product.hpp"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdint>

#include "parallel/rows.hpp"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)

namespace osler::parallel {
namespace {

constexpr std::int64_t kWidth = 16;              // floats in a vector
constexpr std::int64_t kColumns = 4;             // rows of the weight at a time
constexpr std::int64_t kMostRows = 6;            // of x at a time: 24 sums, 4 weights and a row fill 29 of 32 registers
constexpr std::int64_t kCacheBytes = 256 << 10;  // of x: read again for every 4 rows of the weight, from this core's
constexpr std::int64_t kLeastChunk = 24;         // rows of x, however long
constexpr std::int64_t kGrain = 16;              // blocks of columns below which a thread is not worth it

using Vector = float __attribute__((vector_size(64)));
using Unaligned = float __attribute__((vector_size(64), aligned(4)));
using Order = int __attribute__((vector_size(64)));

OSLER_INLINE Vector load_vector(const float* from) {
  return *reinterpret_cast<const Unaligned*>(from);
}

/// Lanes 0, 4, 8 and 12 of the result are the sums of a, b, c and d, as trees.
OSLER_INLINE Vector sums_of(Vector a, Vector b, Vector c, Vector d) {
  const Order low8 = {0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23};
  const Order high8 = {8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31};
  const Order low4 = {0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27};
  const Order high4 = {4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31};
  const Order swap2 = {2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13};
  const Order swap1 = {1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14};
  const Vector ab = __builtin_shuffle(a, b, low8) + __builtin_shuffle(a, b, high8);
  const Vector cd = __builtin_shuffle(c, d, low8) + __builtin_shuffle(c, d, high8);
  Vector sums = __builtin_shuffle(ab, cd, low4) + __builtin_shuffle(ab, cd, high4);
  sums += __builtin_shuffle(sums, swap2);
  sums += __builtin_shuffle(sums, swap1);
  return sums;
}

struct Product {
  const float *x, *weight;
  float* y;
  std::int64_t rows, columns, depth;
};

/// kRows rows from `row` by 4 columns from `column`. With kAhead the next columns' weights are asked for meanwhile.
template <int kRows, bool kAhead>
OSLER_INLINE void tile(const Product& product, std::int64_t row, std::int64_t column) {
  const std::int64_t depth = product.depth;
  const float *x = product.x + row * depth, *weight = product.weight + column * depth;
  Vector sums[kRows][kColumns] = {};
  for (std::int64_t k = 0; k < depth; k += kWidth) {
    Vector w[kColumns];
    for (std::int64_t c = 0; c < kColumns; ++c) {
      w[c] = load_vector(weight + c * depth + k);
      if (kAhead) __builtin_prefetch(weight + (c + kColumns) * depth + k);
    }
    for (int r = 0; r < kRows; ++r) {
      const Vector value = load_vector(x + r * depth + k);
      for (std::int64_t c = 0; c < kColumns; ++c) sums[r][c] += value * w[c];
    }
  }
  float* y = product.y + row * product.columns + column;
  for (int r = 0; r < kRows; ++r) {
    const Vector whole = sums_of(sums[r][0], sums[r][1], sums[r][2], sums[r][3]);
    for (std::int64_t c = 0; c < kColumns; ++c) y[r * product.columns + c] = whole[4 * c];
  }
}

template <bool kAhead>
OSLER_INLINE void tile_of(std::int64_t rows, const Product& product, std::int64_t row, std::int64_t column) {
  switch (rows) {
    case 1:
      return tile<1, kAhead>(product, row, column);
    case 2:
      return tile<2, kAhead>(product, row, column);
    case 3:
      return tile<3, kAhead>(product, row, column);
    case 4:
      return tile<4, kAhead>(product, row, column);
    case 5:
      return tile<5, kAhead>(product, row, column);
    default:
      return tile<6, kAhead>(product, row, column);
  }
}

/// Columns [begin, end) of rows [first, last): in tiles of nearly equal height, so that none has too few sums to keep
/// the multipliers busy.
OSLER_INLINE void chunk(const Product& product, std::int64_t first, std::int64_t last, std::int64_t begin,
                        std::int64_t end) {
  const std::int64_t rows = last - first, tiles = (rows + kMostRows - 1) / kMostRows;
  for (std::int64_t column = begin; column < end; column += kColumns) {
    tile_of<true>(rows / tiles, product, first, column);
    for (std::int64_t t = 1, row = rows / tiles; t < tiles; ++t) {
      const std::int64_t next = rows * (t + 1) / tiles;
      tile_of<false>(next - row, product, first + row, column);
      row = next;
    }
  }
}

__attribute__((target("arch=x86-64-v4"))) void columns(const Product& product, std::int64_t begin, std::int64_t end) {
  const std::int64_t row_bytes = product.depth * static_cast<std::int64_t>(sizeof(float));
  const std::int64_t rows = std::max(kLeastChunk, kCacheBytes / row_bytes);
  for (std::int64_t first = 0; first < product.rows; first += rows)
    chunk(product, first, std::min(product.rows, first + rows), begin, end);
}

bool has_wide_vectors() {
  static const bool has = __builtin_cpu_supports("x86-64-v4");
  return has;
}

bool is_plain(const at::Tensor& tensor) {
  return tensor.device().is_cpu() && tensor.scalar_type() == at::kFloat && tensor.is_contiguous();
}

}  // namespace

bool has_row_product(const at::Tensor& x, const at::Tensor& weight_FD) {
  return has_wide_vectors() && is_plain(x) && is_plain(weight_FD) && x.size(0) > 0 && x.size(1) % kWidth == 0 &&
         weight_FD.size(0) % kColumns == 0;
}

void row_product(at::Tensor y, const at::Tensor& x, const at::Tensor& weight_FD) {
  const Product product{x.const_data_ptr<float>(), weight_FD.const_data_ptr<float>(),
                        y.data_ptr<float>(),       x.size(0),
                        weight_FD.size(0),         x.size(1)};
  at::parallel_for(0, product.columns / kColumns, kGrain,
                   [&](std::int64_t begin, std::int64_t end) { columns(product, begin * kColumns, end * kColumns); });
}

}  // namespace osler::parallel

#else

namespace osler::parallel {

bool has_row_product(const at::Tensor&, const at::Tensor&) {
  return false;
}
void row_product(at::Tensor, const at::Tensor&, const at::Tensor&) {}

}  // namespace osler::parallel

#endif
