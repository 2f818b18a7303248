#include <algorithm>
#include <iterator>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.hpp"
#include "plan/forecast.hpp"
#include "plan/mesh.hpp"
#include "plan/parameter_specs.hpp"
#include "plan/piece.hpp"
#include "plan/throughput.hpp"
#include "unit/plan/models.hpp"

namespace osler::plan {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(Parameters, CountsAreThoseOfThePublishedModels) {
  EXPECT_EQ(count_parameters(mistral()).total, 7'241'732'096);
  EXPECT_EQ(count_parameters(mistral()).active, 7'241'732'096);
  EXPECT_EQ(count_parameters(mixtral()).total, 46'702'792'704);
  EXPECT_EQ(count_parameters(mixtral()).active, 12'879'925'248);
  config::ModelConfig tied = mistral();
  tied.tie_word_embeddings = true;
  EXPECT_EQ(count_parameters(tied).total, 7'241'732'096 - 32000 * 4096);
}

TEST(Parameters, StandInTheOrderThatTheirUsersRelyOn) {
  config::ModelConfig config = mixtral();
  config.num_layers = 2;
  config.num_experts = 3;
  std::vector<std::string> names;
  bool decay_ended = false;
  std::set<std::string> unique;
  for (const ParameterSpec& spec : parameter_specs(config)) {
    names.push_back(spec.name + (spec.joins_previous ? "+" : ""));
    EXPECT_EQ(spec.decay, spec.shape.size() == 2) << spec.name;
    EXPECT_FALSE(decay_ended && spec.decay) << spec.name << " stands after the norms";
    decay_ended |= !spec.decay;
    EXPECT_TRUE(unique.insert(spec.name).second) << spec.name;
  }
  EXPECT_EQ(names.size(), 2u + 2 * (4 + 1 + 9) + 5);
  const std::string layer = "model.layers.0.", attention = layer + "self_attn.", moe = layer + "block_sparse_moe.";
  const std::vector<std::string> start{
      "model.embed_tokens.weight",  attention + "q_proj.weight",  attention + "k_proj.weight+",
      attention + "v_proj.weight+", attention + "o_proj.weight",  moe + "gate.weight",
      moe + "experts.0.w1.weight",  moe + "experts.0.w3.weight+", moe + "experts.1.w1.weight+",
      moe + "experts.1.w3.weight+", moe + "experts.2.w1.weight+", moe + "experts.2.w3.weight+",
      moe + "experts.0.w2.weight",  moe + "experts.1.w2.weight+", moe + "experts.2.w2.weight+"};
  EXPECT_EQ(std::vector<std::string>(names.begin(), names.begin() + 15), start);
  EXPECT_EQ(names.back(), "model.norm.weight");
}

/// What the order of reductions follows: an untied head is complete with the loss, a tied one only with the embedding.
TEST(Parameters, AnUntiedHeadIsTheLayerBehindTheLast) {
  config::ModelConfig config = mistral();
  const auto layers_of_vocabulary = [&] {
    std::vector<std::int64_t> layers;
    for (const ParameterSpec& spec : parameter_specs(config))
      if (spec.shape[0] == config.vocab_size) layers.push_back(spec.layer);
    return layers;
  };
  EXPECT_EQ(layers_of_vocabulary(), (std::vector<std::int64_t>{-1, 32}));
  config.tie_word_embeddings = true;
  EXPECT_EQ(layers_of_vocabulary(), (std::vector<std::int64_t>{-1}));
}

TEST(SplitRange, CoversTheWholeWithPartsThatDifferByOne) {
  for (std::int64_t total = 0; total < 40; ++total) {
    for (std::int64_t parts = 1; parts < 9; ++parts) {
      std::int64_t next = 0, previous = total + 1;
      for (std::int64_t index = 0; index < parts; ++index) {
        const Range range = split_range(total, parts, index);
        EXPECT_EQ(range.begin, next);
        EXPECT_GE(range.size(), total / parts);
        EXPECT_LE(range.size(), total / parts + 1);
        EXPECT_LE(range.size(), previous);
        previous = range.size();
        next = range.end;
      }
      EXPECT_EQ(next, total);
    }
  }
  EXPECT_THROW(split_range(5, 2, 2), InternalError);
  EXPECT_THROW(split_range(5, 0, 0), InternalError);
}

/// Flat indices of the elements of a piece, in order.
std::vector<std::int64_t> flat_indices(const Piece& piece) {
  std::vector<std::int64_t> indices{0};
  for (std::size_t dim = 0; dim < piece.extent.size(); ++dim) {
    std::vector<std::int64_t> next;
    for (const std::int64_t outer : indices)
      for (std::int64_t i = 0; i < piece.extent[dim]; ++i)
        next.push_back(outer * piece.global_shape[dim] + piece.offset[dim] + i);
    indices = std::move(next);
  }
  return indices;
}

TEST(Pieces, TileEveryFlatRangeInOrder) {
  for (const std::vector<std::int64_t>& shape : std::vector<std::vector<std::int64_t>>{
           {}, {1}, {7}, {3, 4}, {4, 1}, {1, 5}, {2, 3, 4}, {3, 1, 2}, {1, 1, 6}, {2, 2, 3, 2}}) {
    const std::int64_t total = num_elements(shape);
    for (std::int64_t begin = 0; begin <= total; ++begin) {
      for (std::int64_t end = begin; end <= total; ++end) {
        std::vector<std::int64_t> covered;
        const auto pieces = pieces_of_flat_range("t", DType::bf16, shape, begin, end);
        EXPECT_LE(pieces.size(), shape.empty() ? 1 : 2 * shape.size() - 1);
        for (const Piece& piece : pieces) {
          EXPECT_EQ(piece.name, "t");
          EXPECT_EQ(piece.dtype, DType::bf16);
          EXPECT_EQ(piece.global_shape, shape);
          EXPECT_GT(num_elements(piece.extent), 0);
          const auto indices = flat_indices(piece);
          covered.insert(covered.end(), indices.begin(), indices.end());
        }
        std::vector<std::int64_t> wanted;
        for (std::int64_t i = begin; i < end; ++i) wanted.push_back(i);
        ASSERT_EQ(covered, wanted) << begin << ".." << end;
      }
    }
  }
  EXPECT_TRUE(pieces_of_flat_range("t", DType::fp32, {0, 5}, 0, 0).empty());
  EXPECT_TRUE(pieces_of_flat_range("t", DType::fp32, {5, 0}, 0, 0).empty());
  EXPECT_THROW(pieces_of_flat_range("t", DType::fp32, {2, 2}, 0, 5), InternalError);
  EXPECT_THROW(pieces_of_flat_range("t", DType::fp32, {2, 2}, 3, 2), InternalError);
  EXPECT_THROW(num_elements({std::int64_t{1} << 40, std::int64_t{1} << 40}), InternalError);
}

TEST(Pieces, IntersectAsTheirElementsDo) {
  const std::vector<std::int64_t> shape{3, 2, 4};
  std::vector<Piece> pieces;
  for (std::int64_t begin = 0; begin <= 24; begin += 5)
    for (std::int64_t end = begin + 1; end <= 24; end += 4)
      for (Piece& piece : pieces_of_flat_range("t", DType::fp32, shape, begin, end)) pieces.push_back(std::move(piece));
  int overlaps = 0;
  for (const Piece& a : pieces) {
    for (const Piece& b : pieces) {
      const auto in_a = flat_indices(a), in_b = flat_indices(b);
      std::vector<std::int64_t> wanted;
      std::set_intersection(in_a.begin(), in_a.end(), in_b.begin(), in_b.end(), std::back_inserter(wanted));
      const Piece common = intersection(a, b);
      ASSERT_EQ(num_elements(common.extent), static_cast<std::int64_t>(wanted.size()));
      if (!wanted.empty()) {
        ASSERT_EQ(flat_indices(common), wanted);
      }
      overlaps += !wanted.empty();
    }
  }
  EXPECT_GT(overlaps, 100);
  EXPECT_THROW(intersection(Piece{"a", DType::fp32, {2}, {0}, {2}}, Piece{"b", DType::fp32, {2}, {0}, {2}}),
               InternalError);
}

TEST(Throughput, FlopsPerTokenAreThosePlannedWith) {
  EXPECT_NEAR(flops_per_token(mistral(), 4096), 4.59e10, 0.005e10);
  EXPECT_NEAR(flops_per_token(mixtral(), 4096), 7.97e10, 0.005e10);
  // Beyond the window only attention inside it is paid: 8192 tokens see 3072 keys in the mean.
  const double with_window = flops_per_token(mistral(), 8192) - flops_per_token(mistral(), 4096);
  EXPECT_DOUBLE_EQ(with_window, 12.0 * 32 * 4096 * (3072 - 2048));
  config::ModelConfig tied = mistral();
  tied.tie_word_embeddings = true;
  EXPECT_DOUBLE_EQ(flops_per_token(tied, 4096), flops_per_token(mistral(), 4096));
  EXPECT_EQ(peak_flops("cpu", config::Precision::bf16), 0);
  EXPECT_EQ(peak_flops("h100", config::Precision::bf16), 989.4e12);
  EXPECT_THROW(peak_flops("h300", config::Precision::bf16), ConfigError);
}

TEST(MeshLayout, DividesTheWorldTwice) {
  config::ParallelOptions parallel;
  parallel.tp = 2;
  parallel.ep = 8;
  const Mesh mesh = build_mesh(64, mixtral(), parallel, batch(256, 2));
  EXPECT_EQ(mesh.dp, 32);
  EXPECT_EQ(mesh.edp, 8);
  EXPECT_EQ(mesh.accumulation_steps, 4);
}

TEST(MeshLayout, RefusesWhatDoesNotDivideAndNamesTheNearest) {
  const auto problem = [](std::int64_t world, const config::ModelConfig& model, std::int64_t tp, std::int64_t ep,
                          const config::DataOptions& data) -> std::string {
    config::ParallelOptions parallel;
    parallel.tp = tp;
    parallel.ep = ep;
    try {
      build_mesh(world, model, parallel, data);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_EQ(problem(3, mistral(), 1, 1, batch(256, 1)),
            "data.global_batch = 256 is no multiple of dp * data.micro_batch = 3 * 1; the nearest are 255 and 258");
  EXPECT_THAT(problem(512, mistral(), 1, 1, batch(256, 1)), HasSubstr("512 * 1; use 512"));
  EXPECT_THAT(
      problem(12, mistral(), 3, 1, batch(256, 1)),
      AllOf(HasSubstr("parallel.tp = 3 does not divide the model's key-value heads = 8; the nearest are 2 and 4"),
            HasSubstr("attention heads = 32")));
  EXPECT_EQ(problem(32, mistral(), 16, 1, batch(256, 1)), "accepted");  // two ranks hold each key-value head
  config::ModelConfig six_heads = mistral();
  six_heads.num_kv_heads = 6, six_heads.num_heads = 48;
  EXPECT_THAT(problem(16, six_heads, 8, 1, batch(256, 1)),
              HasSubstr("parallel.tp = 8 is no multiple of the model's key-value heads = 6; the nearest are 6 and 12"));
  EXPECT_THAT(problem(7, mistral(), 2, 1, batch(256, 1)),
              HasSubstr("the world of 7 ranks is no multiple of parallel.tp = 2; for ranks the nearest are 6 and 8"));
  EXPECT_THAT(problem(8, mistral(), 1, 8, batch(256, 1)), HasSubstr("the model has no experts; use 1"));
  EXPECT_THAT(problem(6, mixtral(), 1, 3, batch(258, 1)),
              HasSubstr("parallel.ep = 3 does not divide the model's experts = 8; the nearest are 2 and 4"));
  EXPECT_THAT(problem(4, mixtral(), 1, 8, batch(256, 1)),
              HasSubstr("the world of 4 ranks is no multiple of parallel.ep = 8; for ranks use 8"));
  config::DataOptions long_windows = batch(256, 1);
  long_windows.sequence_length = 40000;
  EXPECT_THAT(problem(8, mistral(), 1, 1, long_windows), HasSubstr("more than the model's 32768 positions"));
}

TEST(ForecastNumbers, FollowFromTheirFormulas) {
  ForecastInput input;
  input.model = mistral();
  input.data = batch(256, 1);
  input.run.steps = 1000;
  const Mesh mesh = build_mesh(64, input.model, input.parallel, input.data);
  const Forecast forecast = compute_forecast(input, mesh);
  const double count = 7'241'732'096;
  EXPECT_EQ(forecast.memory.at(0).num_bytes, 2 * count);
  EXPECT_EQ(forecast.memory.at(1).num_bytes, 4 * count);
  EXPECT_EQ(forecast.memory.at(2).num_bytes, 12 * count / 64);
  EXPECT_EQ(forecast.checkpoint_bytes, 12 * 7'241'732'096);
  EXPECT_EQ(forecast.tokens_per_step, 256 * 4096);
  EXPECT_EQ(forecast.run_tokens, 1000 * 256 * 4096);
  EXPECT_LT(forecast.memory_bytes, forecast.device_bytes);

  double previous = 1e30;  // each step of recompute holds less
  for (const auto recompute : {config::Recompute::none, config::Recompute::selective, config::Recompute::full}) {
    input.parallel.recompute = recompute;
    const double bytes = compute_forecast(input, mesh).memory.at(3).num_bytes;
    EXPECT_LT(bytes, previous);
    previous = bytes;
  }
  // Two states of 4096 for each layer and the last, ids and rotary tables.
  EXPECT_EQ(previous, 4096 * (2.0 * (32 * 2 * 4096 + 4096) + 3 * 8 + 128 * 4));

  input.parallel.dtype = config::Precision::fp32;
  input.cluster.gpu = "cpu";
  const Forecast on_cpu = compute_forecast(input, mesh);
  EXPECT_EQ(on_cpu.memory.at(0).num_bytes, 4 * count);
  EXPECT_EQ(on_cpu.memory.at(2).num_bytes, 8 * count / 64);
  EXPECT_EQ(on_cpu.checkpoint_bytes, 12 * 7'241'732'096);
  EXPECT_EQ(on_cpu.step.total_s(), 0);
  EXPECT_EQ(on_cpu.device_bytes, 0);
  EXPECT_EQ(checkpoint_bytes(mistral(), config::Precision::fp64), 24 * 7'241'732'096);
}

TEST(ForecastNumbers, ExpertsNeedEpToFit) {
  ForecastInput input;
  input.model = mixtral();
  input.data = batch(512, 1);
  const Forecast whole = compute_forecast(input, build_mesh(64, input.model, input.parallel, input.data));
  EXPECT_GT(whole.memory_bytes, whole.device_bytes);
  EXPECT_EQ(whole.rank_parameters, 46'702'792'704);
  input.parallel.ep = 8;
  const Forecast cut = compute_forecast(input, build_mesh(64, input.model, input.parallel, input.data));
  EXPECT_LT(cut.memory_bytes, cut.device_bytes);
  const std::int64_t experts = 32LL * 8 * 3 * 4096 * 14336;
  EXPECT_EQ(cut.rank_parameters, 46'702'792'704 - experts + experts / 8);
}

}  // namespace
}  // namespace osler::plan
