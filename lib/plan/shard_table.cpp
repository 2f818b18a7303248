#include "plan/shard_table.hpp"

#include <algorithm>

#include "plan/parameter_specs.hpp"
#include "plan/piece.hpp"

namespace osler::plan {
namespace {

struct Kind {
  const char* what;
  Cut cut;
};
bool holds(const ParameterSpec& spec, const char* part) {
  return spec.name.find(part) != std::string::npos;
}
bool is_key_or_value(const ParameterSpec& spec) {
  return holds(spec, ".k_proj.") || holds(spec, ".v_proj.");
}
Kind kind_of(const ParameterSpec& spec) {
  if (spec.shape.size() == 1) return {"norms", Cut::none};
  if (holds(spec, ".experts.")) return {"experts", Cut::experts};
  if (holds(spec, "block_sparse_moe.gate")) return {"routers", Cut::none};
  if (holds(spec, ".self_attn.")) return {"attention", Cut::tensor};
  if (holds(spec, ".mlp.")) return {"feed-forward", Cut::tensor};
  return holds(spec, "embed_tokens") ? Kind{"embedding", Cut::tensor} : Kind{"head", Cut::tensor};
}

std::int64_t rank_elements(const ParameterSpec& spec, const config::ModelConfig& model, const Mesh& mesh) {
  const std::int64_t whole = num_elements(spec.shape);
  switch (kind_of(spec).cut) {
    case Cut::experts:
      return whole / mesh.ep;
    case Cut::tensor:
      return whole / (is_key_or_value(spec) ? std::min(mesh.tp, model.num_kv_heads) : mesh.tp);
    case Cut::none:
      return whole;
  }
  return whole;
}

}  // namespace

std::vector<ShardRow> shard_table(const config::ModelConfig& model, const Mesh& mesh) {
  std::vector<ShardRow> rows;
  for (const ParameterSpec& spec : parameter_specs(model)) {
    const Kind kind = kind_of(spec);
    auto row = std::find_if(rows.begin(), rows.end(), [&](const ShardRow& known) { return known.what == kind.what; });
    if (row == rows.end()) row = rows.insert(rows.end(), ShardRow{kind.what, kind.cut});
    row->parameters += num_elements(spec.shape);
    row->rank_parameters += rank_elements(spec, model, mesh);
  }
  for (ShardRow& row : rows) {
    const std::int64_t owners = row.cut == Cut::experts ? mesh.edp : mesh.dp;
    row.rank_optimizer = (row.rank_parameters + owners - 1) / owners;
  }
  return rows;
}

RankShare share_of_rank(const config::ModelConfig& model, const Mesh& mesh) {
  RankShare share;
  share.kv_replicas = std::max<std::int64_t>(1, mesh.tp / model.num_kv_heads);
  for (const ParameterSpec& spec : parameter_specs(model)) {
    const std::int64_t held = rank_elements(spec, model, mesh);
    const Cut cut = kind_of(spec).cut;
    (cut == Cut::experts ? share.experts : share.dense) += held;
    if (cut == Cut::none) share.whole += held;
    if (share.kv_replicas > 1 && is_key_or_value(spec)) share.shared_kv += held;
  }
  return share;
}

}  // namespace osler::plan
