// Pieces of global tensors: a hyper-rectangle with its place in the whole. All of resharding is arithmetic on these.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/dtype.hpp"

namespace osler::plan {

/// Part `index` of [0, total) cut into `parts`: sizes differ by at most one, larger first.
struct Range {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::int64_t size() const { return end - begin; }
};
Range split_range(std::int64_t total, std::int64_t parts, std::int64_t index);

struct Piece {
  std::string name;  ///< global name with its group, e.g. "optim/master/model.norm.weight"
  DType dtype = DType::fp32;
  std::vector<std::int64_t> global_shape;
  std::vector<std::int64_t> offset;  ///< first index in each dim
  std::vector<std::int64_t> extent;  ///< length in each dim
};

/// The row-major elements [begin, end) of a tensor as at most 2 * rank - 1 hyper-rectangles, in element order.
std::vector<Piece> pieces_of_flat_range(const std::string& name, DType dtype, const std::vector<std::int64_t>& shape,
                                        std::int64_t begin, std::int64_t end);
/// Where two pieces of the same tensor overlap; empty extent product when they do not.
Piece intersection(const Piece& a, const Piece& b);
std::int64_t num_elements(const std::vector<std::int64_t>& shape);

}  // namespace osler::plan
