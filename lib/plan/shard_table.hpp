// What each rank holds of a model: parameters by kind, and how they are cut over the axes of the mesh.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/model_config.hpp"
#include "plan/mesh.hpp"
#include "plan/parameter_layout.hpp"

namespace osler::plan {

/// Over which axis the parameters of one kind are cut in this mesh.
enum class Cut { none, tensor, experts };
struct ShardRow {
  std::string what;
  Cut cut = Cut::none;
  std::int64_t parameters = 0;       ///< in the model
  std::int64_t rank_parameters = 0;  ///< held by one rank, with their gradients
  std::int64_t rank_optimizer = 0;   ///< whose masters and moments one rank holds: cut again over dp or edp
};
/// By plan::parameter_specs_of_rank; every rank holds as much as the first.
std::vector<ShardRow> shard_table(const config::ModelConfig& model, const Mesh& mesh);

/// Elements of one rank's buffers by what happens to their gradients, padding included (plan::lay_out).
struct RankShare {
  std::int64_t dense = 0;    ///< reduced over dp
  std::int64_t experts = 0;  ///< reduced over edp
  std::int64_t dense_buckets = 0, expert_buckets = 0;
  std::int64_t dense_of_layer = 0, experts_of_layer = 0;  ///< one layer's buckets
  std::vector<Replicated> replicated;                     ///< of the dense ones, what several tp ranks hold alike
  std::int64_t held() const { return dense + experts; }
  /// Whose masters and moments this rank holds.
  std::int64_t owned(const Mesh& mesh) const { return dense / mesh.dp + experts / mesh.edp; }
};
RankShare share_of_rank(const config::ModelConfig& model, const Mesh& mesh);

}  // namespace osler::plan
