#include "unit/plan/published_runs.hpp"

#include <set>

#include <gtest/gtest.h>

#include "base/text_of.hpp"
#include "plan/forecast.hpp"
#include "plan/throughput.hpp"

namespace osler::plan {
namespace {

using config::Recompute;

struct Shape {
  std::int64_t layers, hidden, heads, kv_heads, ffn, vocab;
  bool tied;
};
config::ModelConfig model_of(const Shape& shape) {
  config::ModelConfig model;
  model.num_layers = shape.layers;
  model.hidden_size = shape.hidden;
  model.num_heads = shape.heads;
  model.num_kv_heads = shape.kv_heads;
  model.head_dim = shape.hidden / shape.heads;
  model.intermediate_size = shape.ffn;
  model.vocab_size = shape.vocab;
  model.tie_word_embeddings = shape.tied;
  model.max_position_embeddings = 1 << 20;
  return model;
}
/// GPT and MPT have two matrices of width 4 hidden in a feed-forward block; three of 8/3 hidden, to the next multiple
/// of 64, are as many parameters, FLOPs and bytes of activations.
Shape gpt(std::int64_t layers, std::int64_t hidden, std::int64_t heads, std::int64_t vocab, bool tied) {
  return {layers, hidden, heads, heads, (hidden * 8 / 3 + 63) / 64 * 64, vocab, tied};
}
Shape mpt(std::int64_t layers, std::int64_t hidden, std::int64_t heads) {
  return gpt(layers, hidden, heads, 50368, true);
}
constexpr Shape kLlama8B{32, 4096, 32, 8, 14336, 128256, false};
constexpr Shape kLlama70B{80, 8192, 64, 8, 28672, 128256, false};
constexpr Shape kLlama2_70B{80, 8192, 64, 8, 28672, 32000, false};
constexpr Shape kNanotron9B{32, 4096, 32, 32, 14336, 131072, false};

struct Batch {
  std::int64_t sequence_length, global, micro;
};
PublishedRun run_of(Source source, std::string setting, const Shape& shape, std::int64_t num_gpus, Batch batch,
                    double tokens_per_s) {
  PublishedRun run;
  run.source = source;
  run.setting = std::move(setting);
  run.input.model = model_of(shape);
  run.input.parallel.recompute = Recompute::none;
  run.input.data.sequence_length = batch.sequence_length;
  run.input.data.global_batch = batch.global;
  run.input.data.micro_batch = batch.micro;
  run.num_gpus = num_gpus;
  run.tokens_per_s = tokens_per_s;
  return run;
}

/// FSDP, FULL_SHARD, amp_bf16: weights gathered in bf16, gradients reduced in fp32 (Composer's DEFAULT mode).
void add_llm_foundry(std::vector<PublishedRun>& runs) {
  const auto add = [&](const char* setting, const Shape& shape, const char* gpu, std::int64_t num_gpus, Batch batch,
                       bool recomputes, double tokens_per_s) -> PublishedRun& {
    runs.push_back(run_of(Source::llm_foundry, setting, shape, num_gpus, batch, tokens_per_s));
    runs.back().input.cluster.gpu = gpu;
    runs.back().input.practice = {.overlaps_weights = true, .shards_weights = true};
    if (recomputes) runs.back().input.parallel.recompute = Recompute::full;
    if (std::string(gpu) == "a100") runs.back().input.cluster.network_gbytes_per_s = 25;  // 1600 Gb/s a node
    return runs.back();
  };
  const Shape b3 = mpt(32, 2560, 20), b7 = mpt(32, 4096, 32), b13 = mpt(40, 5120, 40), b30 = mpt(48, 7168, 56),
              b70 = mpt(80, 8192, 64);
  add("MPT-7B 8 H100, 2048", b7, "h100", 8, {2048, 48, 6}, false, 10643).calibrates = true;
  add("MPT-7B 8 H100, 4096, recompute", b7, "h100", 8, {4096, 256, 16}, true, 8611);
  add("MPT-7B 8 A100, 2048", b7, "a100", 8, {2048, 96, 6}, false, 4641).calibrates = true;
  add("MPT-7B 8 A100, 4096, recompute", b7, "a100", 8, {4096, 256, 16}, true, 3684);
  add("MPT-3B 16 H100, 2048", b3, "h100", 16, {2048, 480, 10}, false, 24142);
  add("MPT-3B 64 H100, 2048", b3, "h100", 64, {2048, 1152, 6}, false, 22525);
  add("MPT-13B 8 H100, 2048", b13, "h100", 8, {2048, 16, 2}, false, 4792);
  add("MPT-13B 64 H100, 2048", b13, "h100", 64, {2048, 128, 2}, false, 4800);
  add("MPT-30B 32 H100, 2048, recompute", b30, "h100", 32, {2048, 1344, 14}, true, 2308);
  add("MPT-70B 64 H100, 2048, recompute", b70, "h100", 64, {2048, 2048, 8}, true, 1039);
}

/// FSDP2 on H100 with HBM2e of 2.4 TB/s and a power limit of 500 W. "op" recompute saves every second matrix product.
void add_torchtitan(std::vector<PublishedRun>& runs) {
  const auto add = [&](const char* setting, const Shape& shape, std::int64_t num_gpus, std::int64_t tp, Batch batch,
                       bool full, double tokens_per_s, const char* note) -> PublishedRun& {
    runs.push_back(run_of(Source::torchtitan, setting, shape, num_gpus, batch, tokens_per_s));
    runs.back().input.cluster.memory_gbytes_per_s = 2400;
    runs.back().input.parallel.tp = tp;
    runs.back().input.parallel.recompute = full ? Recompute::full : Recompute::selective;
    runs.back().input.practice = {
        .overlaps_weights = true, .shards_weights = true, .recomputed_gemms = full ? 1.0 : 0.5};
    runs.back().note = note;
    return runs.back();
  };
  add("Llama-3.1-8B 8 H100, 8192, eager", kLlama8B, 8, 1, {8192, 16, 2}, false, 5762, "500 W; eager kernels");
  add("Llama-3.1-8B 8 H100, 8192, compiled", kLlama8B, 8, 1, {8192, 16, 2}, false, 6667, "500 W");
  add("Llama-3.1-8B 128 H100, 8192, eager", kLlama8B, 128, 1, {8192, 256, 2}, false, 5605, "500 W; eager kernels");
  add("Llama-3.1-8B 128 H100, 8192, compiled", kLlama8B, 128, 1, {8192, 256, 2}, false, 6514, "500 W");
  add("Llama-3.1-8B 64 H100, TP8", kLlama8B, 64, 8, {8192, 96, 12}, false, 4378, "500 W");
  add("Llama-3.1-8B 64 H100, async TP8", kLlama8B, 64, 8, {8192, 96, 12}, false, 4809.4, "500 W")
      .input.practice.overlaps_tensor = true;
  add("Llama-3.1-70B 256 H100, TP8, recompute", kLlama70B, 256, 8, {8192, 512, 16}, true, 597.3, "500 W");
  add("Llama-3.1-70B 256 H100, async TP8, recompute", kLlama70B, 256, 8, {8192, 512, 16}, true, 652.4, "500 W")
      .input.practice.overlaps_tensor = true;
}

void add_nanotron(std::vector<PublishedRun>& runs) {
  const double flops = unmasked_flops_per_token(model_of(kNanotron9B), 4096);
  const auto add = [&](const char* setting, std::int64_t num_gpus, std::int64_t tp, std::int64_t stages,
                       std::int64_t micro, double mfu, const char* note) -> PublishedRun& {
    runs.push_back(
        run_of(Source::nanotron, setting, kNanotron9B, num_gpus, {4096, 256, micro}, mfu * 989.4e12 / flops));
    runs.back().input.parallel.tp = tp;
    runs.back().stages = stages;
    runs.back().balances_head = true;
    runs.back().input.practice.overlaps_tensor = tp > 1;
    runs.back().note = note;
    return runs.back();
  };
  add("8.86B 8 H100, DP2 PP4", 8, 1, 4, 1, 0.4522, "");
  add("8.86B 64 H100, DP32 PP2", 64, 1, 2, 1, 0.3950, "");
  // ZeRO-0: an all-reduce in fp32 moves 8 bytes, of which the forecast books 2 as gathered weights.
  add("8.86B 512 H100, DP128 TP4", 512, 4, 1, 2, 0.1869, "2 sequences a rank and step").input.practice.gradient_bytes =
      6;
}

void add_meditron(std::vector<PublishedRun>& runs) {
  runs.push_back(run_of(Source::meditron, "Llama-2-70B 128 A100, DP2 TP8 PP8", kLlama2_70B, 128, {4096, 512, 1}, 314));
  PublishedRun& run = runs.back();
  run.input.cluster.gpu = "a100";
  run.input.cluster.network_gbytes_per_s = 25;
  run.input.parallel.tp = 8;
  run.input.parallel.recompute = Recompute::selective;
  run.input.practice.overlaps_gradients = false;
  run.stages = 8;
  run.note = "micro-batch 1, 25 GB/s and no interleaving assumed";
}

constexpr Practice kMegatron{.overlaps_gradients = true, .overlaps_weights = true, .overlaps_tensor = true};

/// README.md, table of models; published as model TFLOP/s. Two layers in a virtual stage: as NeMo's 175B (PP8, VP6).
void add_megatron_dense(std::vector<PublishedRun>& runs) {
  struct Row {
    const char* size;
    std::int64_t heads, hidden, layers, tp, stages, num_gpus, batch;
    double teraflops;
  };
  constexpr double kPeak = 989.4;
  for (const Row& row : std::vector<Row>{{"1.7B", 16, 2048, 24, 1, 1, 48, 192, 408.8},
                                         {"7.1B", 32, 4096, 30, 2, 1, 96, 192, 465.9},
                                         {"16B", 48, 6144, 32, 4, 1, 192, 192, 489.1},
                                         {"32B", 56, 7168, 48, 8, 1, 384, 192, 459.6},
                                         {"70B", 64, 8192, 84, 8, 2, 768, 384, 419.7},
                                         {"119B", 80, 10240, 92, 8, 4, 1536, 768, 420.5},
                                         {"177B", 96, 12288, 96, 8, 6, 2304, 1152, 432.8},
                                         {"314B", 128, 16384, 96, 8, 8, 3072, 1536, 474.4},
                                         {"462B", 144, 18432, 112, 8, 16, 6144, 3072, 459.9},
                                         {"177B", 96, 12288, 96, 8, 6, 96, 1152, 0.47 * kPeak},
                                         {"177B", 96, 12288, 96, 8, 6, 4608, 1152, 0.42 * kPeak}}) {
    const Shape shape = gpt(row.layers, row.hidden, row.heads, 131072, false);
    runs.push_back(run_of(Source::megatron,
                          text_of(row.size, " ", row.num_gpus, " H100, TP", row.tp, " PP", row.stages), shape,
                          row.num_gpus, {4096, row.batch, row.stages == 1 ? 4 : 1},
                          row.teraflops * 1e12 / unmasked_flops_per_token(model_of(shape), 4096)));
    runs.back().input.parallel.tp = row.tp;
    runs.back().input.practice = kMegatron;
    runs.back().stages = row.stages;
    if (row.stages > 1) runs.back().virtual_stages = std::max<std::int64_t>(1, row.layers / row.stages / 2);
  }
}

void add_mixtral(std::vector<PublishedRun>& runs) {
  const double flops = unmasked_flops_per_token(mixtral_run(1, 8).input.model, 4096);
  const auto add = [&](Source source, const char* setting, double teraflops, const char* note) -> PublishedRun& {
    runs.push_back(mixtral_run(1, 8));
    runs.back().source = source;
    runs.back().setting = setting;
    runs.back().tokens_per_s = teraflops * 1e12 / flops;
    runs.back().note = note;
    return runs.back();
  };
  add(Source::megatron, "Mixtral-8x7B H100, v0.6", 323, "layout of v0.8 assumed; older kernels");
  add(Source::megatron, "Mixtral-8x7B 64 H100, v0.8, EP8 PP4", 438, "");
  add(Source::megatron, "Mixtral-8x7B 64 H100, v0.9, EP8 PP4", 468, "");
  // Megatron-LM issue 756: 130 TFLOP/s at first, 230 after advice on kernels, dispatcher and layout.
  for (const double teraflops : {130.0, 230.0}) {
    const bool first = teraflops < 200;
    PublishedRun& user =
        add(Source::megatron_user, first ? "Mixtral-8x7B 16 H100, untuned" : "Mixtral-8x7B 16 H100, TP2 EP8", teraflops,
            first ? "asks why it is slow; the later layout assumed" : "2024-04 kernels, network unknown");
    user.num_gpus = 16;
    user.stages = user.virtual_stages = 1;
    user.input.parallel.tp = 2;
    user.input.data.global_batch = 128;
    user.input.practice = {};
  }
}

}  // namespace

double unmasked_flops_per_token(const config::ModelConfig& model, std::int64_t sequence_length) {
  config::ModelConfig whole = model;
  whole.sliding_window.reset();
  const double half = 6.0 * static_cast<double>(model.num_layers * model.num_heads * model.head_dim * sequence_length);
  return flops_per_token(whole, sequence_length) + half;
}

PublishedRun mixtral_run(std::int64_t tp, std::int64_t ep) {
  PublishedRun run =
      run_of(Source::megatron, "Mixtral-8x7B", {32, 4096, 32, 8, 14336, 32000, false}, 64, {4096, 256, 1}, 0);
  run.input.model.is_mixture = true;
  run.input.model.num_experts = 8;
  run.input.model.top_k = 2;
  run.input.parallel.tp = tp;
  run.input.parallel.ep = ep;
  run.input.practice = kMegatron;
  run.stages = 4;
  run.virtual_stages = 8;
  return run;
}

std::vector<PublishedRun> published_runs() {
  std::vector<PublishedRun> runs;
  add_llm_foundry(runs);
  add_torchtitan(runs);
  add_nanotron(runs);
  add_meditron(runs);
  add_megatron_dense(runs);
  add_mixtral(runs);
  return runs;
}

double forecast_tokens_per_s(const PublishedRun& run) {
  ForecastInput stage = run.input;
  stage.model.num_layers /= run.stages;
  if (run.balances_head) stage.model.vocab_size /= run.stages;
  const Mesh mesh = build_mesh(run.num_gpus / run.stages, stage.model, stage.parallel, stage.data);
  const double bubble =
      static_cast<double>(run.stages - 1) / static_cast<double>(run.virtual_stages * mesh.accumulation_steps);
  const double step_s = time_of_step(stage, mesh).total_s() * (1 + bubble);
  const auto tokens = static_cast<double>(run.input.data.global_batch * run.input.data.sequence_length);
  return tokens / step_s / static_cast<double>(run.num_gpus);
}

namespace {

TEST(PublishedRuns, AreNamedOnceAndDivide) {
  std::set<std::pair<Source, std::string>> names;
  for (const PublishedRun& run : published_runs()) {
    EXPECT_TRUE(names.emplace(run.source, run.setting).second) << run.setting;
    EXPECT_EQ(run.input.model.num_layers % run.stages, 0) << run.setting;
    EXPECT_EQ(run.num_gpus % run.stages, 0) << run.setting;
    EXPECT_NO_THROW(forecast_tokens_per_s(run)) << run.setting;
    EXPECT_GT(run.tokens_per_s, 0) << run.setting;
  }
}

}  // namespace

}  // namespace osler::plan
