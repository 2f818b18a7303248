// How the parameters of a rank lie in one flat buffer: where each begins, the stretches ("buckets") that are reduced
// and gathered at once, and what several tp ranks hold alike. Pure arithmetic: the parameter store places its tensors
// by it (parallel/parameter.hpp), and the forecast counts the same bytes.
#pragma once

#include <cstdint>
#include <vector>

#include "plan/mesh.hpp"
#include "plan/parameter_specs.hpp"

namespace osler::plan {

constexpr std::int64_t kAlignment = 64;  ///< elements; keeps every row start on a cache line for GEMM

/// How many ranks share the optimizer state of dense parameters (dp) and of experts (edp).
struct Sharers {
  std::int64_t dense = 1;
  std::int64_t experts = 1;
};
inline Sharers sharers_of(const Mesh& mesh) {
  return {.dense = mesh.dp, .experts = mesh.edp};
}

/// Neighbouring parameters of a bucket that `replicas` tp ranks hold alike, gaps included; their gradients are summed.
struct Replicated {
  std::int64_t begin = 0, size = 0;  ///< elements
  std::int64_t replicas = 1;
};

/// A stretch of the flat buffers that is reduced and gathered at once and optimized alike: the dense matrices of one
/// layer, its experts, the embedding, the head, all norms.
struct Bucket {
  std::int64_t begin = 0;   ///< elements
  std::int64_t size = 0;    ///< elements; a multiple of kAlignment times the ranks that share it
  std::int64_t layer = -1;  ///< complete once this layer's backward (the head's: the loss) is through; -1: once all is
  bool is_expert = false;   ///< shared by the ranks of edp rather than dp
  bool decay = true;
  std::vector<Replicated> replicated = {};
};

struct ParameterLayout {
  std::vector<std::int64_t> offset;  ///< of each spec, elements
  std::vector<Bucket> buckets;       ///< they tile the buffers
  std::int64_t num_elements = 0;     ///< padded
};

/// Lays the specs out in the order given. A spec that `joins_previous` follows without a gap, whatever the sizes, so
/// that the run can be used as one matrix; every other start is aligned to kAlignment elements. A new bucket begins
/// where layer, kind or decay change, and is padded to a multiple of kAlignment times its sharers.
ParameterLayout lay_out(const std::vector<ParameterSpec>& specs, Sharers sharers);

}  // namespace osler::plan
