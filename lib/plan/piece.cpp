#include "plan/piece.hpp"

#include <algorithm>
#include <limits>

#include "base/error.hpp"

namespace osler::plan {
namespace {

/// Appends the elements [begin, end) of the sub-tensor made of dims [dim, rank), whose leading indices `piece.offset`
/// already holds: a ragged head, a block of whole rows, a ragged tail.
void append_pieces(Piece piece, std::size_t dim, std::int64_t begin, std::int64_t end, std::vector<Piece>& pieces) {
  const std::size_t rank = piece.global_shape.size();
  if (begin >= end) return;
  if (dim == rank) {  // a scalar
    pieces.push_back(std::move(piece));
    return;
  }
  std::int64_t row = 1;  // elements of one index of `dim`
  for (std::size_t inner = dim + 1; inner < rank; ++inner) row *= piece.global_shape[inner];
  const auto descend = [&](std::int64_t index, std::int64_t from, std::int64_t to) {
    Piece part = piece;
    part.offset[dim] = index;
    part.extent[dim] = 1;
    append_pieces(std::move(part), dim + 1, from, to, pieces);
  };
  const std::int64_t first_whole = (begin + row - 1) / row;
  const std::int64_t end_whole = end / row;
  if (first_whole > end_whole) {  // inside one row, touching neither edge
    descend(begin / row, begin % row, end - begin / row * row);
    return;
  }
  if (begin % row != 0) descend(begin / row, begin % row, row);
  if (first_whole < end_whole) {
    Piece block = piece;
    block.offset[dim] = first_whole;
    block.extent[dim] = end_whole - first_whole;
    for (std::size_t inner = dim + 1; inner < rank; ++inner) block.extent[inner] = piece.global_shape[inner];
    pieces.push_back(std::move(block));
  }
  if (end % row != 0) descend(end_whole, 0, end % row);
}

}  // namespace

Range split_range(std::int64_t total, std::int64_t parts, std::int64_t index) {
  OSLER_CHECK(total >= 0 && parts > 0 && index >= 0 && index < parts, "part ", index, " of ", parts, " of ", total);
  const std::int64_t smaller = total / parts;
  const std::int64_t larger_parts = total % parts;
  const std::int64_t begin = index * smaller + std::min(index, larger_parts);
  return {begin, begin + smaller + (index < larger_parts ? 1 : 0)};
}

std::vector<Piece> pieces_of_flat_range(const std::string& name, DType dtype, const std::vector<std::int64_t>& shape,
                                        std::int64_t begin, std::int64_t end) {
  OSLER_CHECK(begin >= 0 && begin <= end && end <= num_elements(shape), "elements [", begin, ", ", end, ") of '", name,
              "', which has ", num_elements(shape));
  const std::vector<std::int64_t> zeros(shape.size(), 0);
  std::vector<Piece> pieces;
  append_pieces({name, dtype, shape, zeros, zeros}, 0, begin, end, pieces);
  return pieces;
}

Piece intersection(const Piece& a, const Piece& b) {
  OSLER_CHECK(a.name == b.name && a.global_shape == b.global_shape, "pieces of '", a.name, "' and '", b.name,
              "' are not of one tensor");
  Piece common = a;
  for (std::size_t dim = 0; dim < a.global_shape.size(); ++dim) {
    common.offset[dim] = std::max(a.offset[dim], b.offset[dim]);
    const std::int64_t end = std::min(a.offset[dim] + a.extent[dim], b.offset[dim] + b.extent[dim]);
    common.extent[dim] = std::max<std::int64_t>(0, end - common.offset[dim]);
  }
  return common;
}

std::int64_t num_elements(const std::vector<std::int64_t>& shape) {
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) {
    OSLER_CHECK(extent >= 0, "a tensor extent is ", extent);
    OSLER_CHECK(extent == 0 || count <= std::numeric_limits<std::int64_t>::max() / extent, "a shape overflows 64 bits");
    count *= extent;
  }
  return count;
}

}  // namespace osler::plan
