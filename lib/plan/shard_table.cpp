#include "plan/shard_table.hpp"

#include <algorithm>

#include "plan/parameter_specs.hpp"
#include "plan/piece.hpp"

namespace osler::plan {
namespace {

bool holds(const ParameterSpec& spec, const char* part) {
  return spec.name.find(part) != std::string::npos;
}

const char* kind_of(const ParameterSpec& spec) {
  if (spec.shape.size() == 1) return "norms";
  if (spec.expert >= 0) return "experts";
  if (holds(spec, "block_sparse_moe.gate")) return "routers";
  if (holds(spec, ".self_attn.")) return "attention";
  if (holds(spec, ".mlp.")) return "feed-forward";
  return holds(spec, "embed_tokens") ? "embedding" : "head";
}

ShardRow& row_of(const ParameterSpec& spec, std::vector<ShardRow>& rows) {
  const char* kind = kind_of(spec);
  const auto row = std::find_if(rows.begin(), rows.end(), [&](const ShardRow& known) { return known.what == kind; });
  return row == rows.end() ? rows.emplace_back(ShardRow{.what = kind}) : *row;
}

}  // namespace

std::vector<ShardRow> shard_table(const config::ModelConfig& model, const Mesh& mesh) {
  std::vector<ShardRow> rows;
  for (const ParameterSpec& spec : parameter_specs(model)) row_of(spec, rows).parameters += num_elements(spec.shape);
  for (const ParameterSpec& spec : parameter_specs_of_rank(model, mesh, 0)) {
    ShardRow& row = row_of(spec, rows);
    row.rank_parameters += num_elements(spec.extent);
    if (spec.extent != spec.shape) row.cut = Cut::tensor;
    if (spec.expert >= 0 && mesh.ep > 1) row.cut = Cut::experts;
    const std::int64_t owners = spec.expert >= 0 ? mesh.edp : mesh.dp;
    row.rank_optimizer = (row.rank_parameters + owners - 1) / owners;
  }
  return rows;
}

RankShare share_of_rank(const config::ModelConfig& model, const Mesh& mesh) {
  RankShare share;
  for (const Bucket& bucket : lay_out(parameter_specs_of_rank(model, mesh, 0), sharers_of(mesh)).buckets) {
    (bucket.is_expert ? share.experts : share.dense) += bucket.size;
    ++(bucket.is_expert ? share.expert_buckets : share.dense_buckets);
    if (bucket.layer == 0) (bucket.is_expert ? share.experts_of_layer : share.dense_of_layer) = bucket.size;
    share.replicated.insert(share.replicated.end(), bucket.replicated.begin(), bucket.replicated.end());
  }
  return share;
}

}  // namespace osler::plan
