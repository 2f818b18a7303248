// The published models at full size in every layout, on LibTorch's meta device: tensors with shapes and no memory. What
// the ranks hold are the published tensors under their published names, every element on the right number of ranks.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/error.hpp"
#include "base/publish.hpp"
#include "config/model_config.hpp"
#include "model/model.hpp"
#include "plan/piece.hpp"
#include "plan/shard_table.hpp"

namespace osler::model {
namespace {

using Shape = std::vector<std::int64_t>;

config::ModelConfig published_config(const std::string& name) {
  const std::string path = OSLER_CONFIGS "/model/" + name + ".json";
  return config::parse_model_config(read_file(path, 1 << 20), path);
}

/// As in the files that mistralai published: names and shapes.
std::map<std::string, Shape> published_tensors(bool is_mixture) {
  const Shape wide{14336, 4096}, narrow{4096, 14336}, square{4096, 4096}, heads{1024, 4096}, vector{4096};
  std::map<std::string, Shape> tensors{
      {"model.embed_tokens.weight", {32000, 4096}}, {"lm_head.weight", {32000, 4096}}, {"model.norm.weight", vector}};
  for (int index = 0; index < 32; ++index) {
    const std::string layer = "model.layers." + std::to_string(index) + ".";
    tensors[layer + "input_layernorm.weight"] = tensors[layer + "post_attention_layernorm.weight"] = vector;
    tensors[layer + "self_attn.q_proj.weight"] = tensors[layer + "self_attn.o_proj.weight"] = square;
    tensors[layer + "self_attn.k_proj.weight"] = tensors[layer + "self_attn.v_proj.weight"] = heads;
    if (!is_mixture) {
      tensors[layer + "mlp.gate_proj.weight"] = tensors[layer + "mlp.up_proj.weight"] = wide;
      tensors[layer + "mlp.down_proj.weight"] = narrow;
      continue;
    }
    tensors[layer + "block_sparse_moe.gate.weight"] = {8, 4096};
    for (int expert = 0; expert < 8; ++expert) {
      const std::string of = layer + "block_sparse_moe.experts." + std::to_string(expert) + ".";
      tensors[of + "w1.weight"] = tensors[of + "w3.weight"] = wide;
      tensors[of + "w2.weight"] = narrow;
    }
  }
  return tensors;
}

/// A distinct part of a tensor, and how many ranks hold it as the first of their tp replicas.
using Parts = std::map<std::pair<Shape, Shape>, std::int64_t>;
struct Held {
  Parts counted;
  std::set<std::pair<Shape, Shape>> replicas;  ///< held by the others
  bool is_expert = false;
};

/// Checks one rank's store and model against the plan and notes what it holds.
void build_rank(const config::ModelConfig& config, const plan::Mesh& mesh, std::int64_t rank,
                std::map<std::string, Held>& held) {
  const auto options = at::TensorOptions(at::kMeta).dtype(at::kBFloat16);
  parallel::ParameterStore store(plan::parameter_specs_of_rank(config, mesh, rank), options, plan::sharers_of(mesh));
  store.allocate_grad();
  const Model model(config, store, config::Recompute::none);
  EXPECT_EQ(model.head().spec.name, "lm_head.weight");
  std::int64_t num_elements = 0;
  for (const parallel::Parameter& parameter : store.parameters()) {
    EXPECT_EQ(parameter.data.sizes(), at::IntArrayRef(parameter.spec.extent)) << parameter.name;
    EXPECT_EQ(parameter.grad.sizes(), parameter.data.sizes()) << parameter.name;
    num_elements += parameter.data.numel();
    Held& its = held[parameter.name];
    its.is_expert = parameter.spec.expert >= 0;
    const std::pair part{parameter.spec.offset, parameter.spec.extent};
    if (parameter.spec.replica == 0) {
      ++its.counted[part];
    } else {
      its.replicas.insert(part);
    }
  }
  std::int64_t planned = 0;
  for (const plan::ShardRow& row : plan::shard_table(config, mesh)) planned += row.rank_parameters;
  EXPECT_EQ(num_elements, planned);
  EXPECT_EQ(store.num_elements(), plan::share_of_rank(config, mesh).held());
}

/// The distinct parts are disjoint and fill the tensor; all are held by as many ranks.
void expect_tiles(const std::string& name, const Shape& shape, const Held& held, std::int64_t sharers) {
  std::int64_t covered = 0;
  std::vector<plan::Piece> pieces;
  for (const auto& [part, times] : held.counted) {
    EXPECT_EQ(times, sharers) << name;
    plan::Piece piece{name, DType::bf16, shape, part.first, part.second};
    for (std::size_t dim = 0; dim < shape.size(); ++dim)
      EXPECT_LE(piece.offset[dim] + piece.extent[dim], shape[dim]) << name;
    for (const plan::Piece& other : pieces)
      EXPECT_EQ(plan::num_elements(plan::intersection(piece, other).extent), 0) << name;
    covered += plan::num_elements(piece.extent);
    pieces.push_back(std::move(piece));
  }
  EXPECT_EQ(covered, plan::num_elements(shape)) << name;
  for (const auto& part : held.replicas) EXPECT_TRUE(held.counted.contains(part)) << name;
}

void expect_layout_holds(const config::ModelConfig& config, const plan::Mesh& mesh,
                         const std::map<std::string, Shape>& published, std::int64_t num_parameters) {
  std::map<std::string, Held> held;
  for (std::int64_t rank = 0; rank < mesh.world; ++rank) build_rank(config, mesh, rank, held);
  ASSERT_EQ(held.size(), published.size());
  std::int64_t count = 0;
  for (const auto& [name, its] : held) {
    ASSERT_TRUE(published.contains(name)) << name;
    const Shape& shape = published.at(name);
    expect_tiles(name, shape, its, its.is_expert ? mesh.edp : mesh.dp);
    count += plan::num_elements(shape);
  }
  EXPECT_EQ(count, num_parameters);
}

/// -> layouts that plan accepts.
int expect_every_layout_holds(const std::string& name, std::int64_t num_parameters) {
  const config::ModelConfig config = published_config(name);
  const auto published = published_tensors(config.is_mixture);
  config::DataOptions data;
  data.global_batch = 16;
  int layouts = 0;
  for (const std::int64_t world : {8, 16}) {
    for (const std::int64_t tp : {1, 2, 4, 8}) {
      for (const std::int64_t ep : {1, 2, 4, 8}) {
        plan::Mesh mesh;
        try {
          mesh = plan::build_mesh(world, config, {.tp = tp, .ep = ep}, data);
        } catch (const ConfigError&) {
          continue;
        }
        SCOPED_TRACE(testing::Message() << "world " << world << " tp " << tp << " ep " << ep);
        expect_layout_holds(config, mesh, published, num_parameters);
        ++layouts;
      }
    }
  }
  return layouts;
}

TEST(FullSize, Mistral7BIsWholeInEveryLayout) {
  EXPECT_EQ(expect_every_layout_holds("mistral-7b", 7'241'732'096), 2 * 4);
}
TEST(FullSize, Mixtral8x7BIsWholeInEveryLayout) {
  EXPECT_EQ(expect_every_layout_holds("mixtral-8x7b", 46'702'792'704), 2 * 4 * 4);
}

}  // namespace
}  // namespace osler::model
