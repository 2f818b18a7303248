// What each rank holds of a model: parameters by kind, and how they are cut over the axes of the mesh.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/model_config.hpp"
#include "plan/mesh.hpp"

namespace osler::plan {

/// How parameters of one kind are cut: matrices of attention, feed-forward, embedding and head over tp, experts over
/// ep, norms and routers not at all. Keys and values are cut over at most num_kv_heads ranks, so that with more of them
/// tp / num_kv_heads ranks hold the same head.
enum class Cut { none, tensor, experts };
struct ShardRow {
  std::string what;
  Cut cut = Cut::none;
  std::int64_t parameters = 0;       ///< in the model
  std::int64_t rank_parameters = 0;  ///< held by one rank, with their gradients
  std::int64_t rank_optimizer = 0;   ///< whose masters and moments one rank holds: cut again over dp or edp
};
std::vector<ShardRow> shard_table(const config::ModelConfig& model, const Mesh& mesh);

/// Parameters of one rank by what happens to their gradients.
struct RankShare {
  std::int64_t dense = 0;        ///< reduced over dp
  std::int64_t experts = 0;      ///< reduced over edp
  std::int64_t whole = 0;        ///< of the dense ones, those that all tp ranks hold: norms and routers
  std::int64_t shared_kv = 0;    ///< of the dense ones, keys and values that kv_replicas tp ranks hold
  std::int64_t kv_replicas = 1;  ///< tp / num_kv_heads, at least 1
};
RankShare share_of_rank(const config::ModelConfig& model, const Mesh& mesh);

}  // namespace osler::plan
