// The forecast against published figures. OSLER_PRINT_FORECAST=1 prints the table of docs/benchmarks/forecast.md.
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include <gtest/gtest.h>

#include "base/text_of.hpp"
#include "plan/forecast.hpp"
#include "unit/plan/published_runs.hpp"

namespace osler::plan {
namespace {

const char* name_of(Source source) {
  switch (source) {
    case Source::llm_foundry:
      return "llm-foundry";
    case Source::torchtitan:
      return "torchtitan";
    case Source::nanotron:
      return "nanotron";
    case Source::meditron:
      return "Meditron";
    case Source::megatron:
      return "Megatron";
    case Source::megatron_user:
      return "Megatron, a user";
  }
  return "?";
}

double error_of(const PublishedRun& run) {
  return forecast_tokens_per_s(run) / run.tokens_per_s - 1;
}

template <class Keep>
double mean_absolute_error(Keep keep) {
  double sum = 0;
  int rows = 0;
  for (const PublishedRun& run : published_runs()) {
    if (run.calibrates || !keep(run)) continue;
    sum += std::abs(error_of(run));
    ++rows;
  }
  return sum / rows;
}

double forecast_of(const std::string& setting) {
  for (const PublishedRun& run : published_runs())
    if (run.setting == setting) return forecast_tokens_per_s(run);
  ADD_FAILURE() << "no row " << setting;
  return 0;
}

TEST(PublishedThroughput, IsForecastWithinTheStatedMeanErrors) {
  const double megatron = mean_absolute_error([](const PublishedRun& run) { return run.source == Source::megatron; });
  const double all = mean_absolute_error([](const PublishedRun&) { return true; });
  if (std::getenv("OSLER_PRINT_FORECAST")) {
    for (const PublishedRun& run : published_runs())
      std::printf("| %s | %s | %.0f | %.0f | %s | %s |\n", name_of(run.source), run.setting.c_str(), run.tokens_per_s,
                  forecast_tokens_per_s(run),
                  run.calibrates ? "set from it" : text_of(std::lround(100 * error_of(run)), " %").c_str(),
                  run.note.c_str());
    std::printf("mean absolute error: Megatron rows %.1f %%, all rows %.1f %%\n", 100 * megatron, 100 * all);
  }
  EXPECT_LE(megatron, 0.15);
  EXPECT_LE(all, 0.25);
}

TEST(PublishedThroughput, OneRowForEachKindOfDeviceSetsItsOverhead) {
  int rows = 0;
  for (const PublishedRun& run : published_runs()) {
    if (!run.calibrates) continue;
    EXPECT_NEAR(error_of(run), 0, 0.01) << run.setting;
    ++rows;
  }
  EXPECT_EQ(rows, 2);
}

TEST(PublishedThroughput, KnownOrdersAreReproduced) {
  // "EP8 x TP1 is better than EP4 x TP2" for Mixtral-8x7B (Megatron-LM, megatron/core/transformer/moe/README.md).
  EXPECT_GT(forecast_tokens_per_s(mixtral_run(1, 8)), forecast_tokens_per_s(mixtral_run(2, 4)));
  for (PublishedRun run : published_runs()) {
    run.input.practice.recomputed_gemms = -1;
    run.input.parallel.recompute = config::Recompute::none;
    const double fastest = forecast_tokens_per_s(run);
    run.input.parallel.recompute = config::Recompute::full;
    EXPECT_LT(forecast_tokens_per_s(run), fastest) << run.setting;
  }
  EXPECT_GT(forecast_of("Llama-3.1-8B 8 H100, 8192, compiled"), forecast_of("Llama-3.1-8B 128 H100, 8192, compiled"));
  EXPECT_GT(forecast_of("MPT-3B 16 H100, 2048"), forecast_of("MPT-3B 64 H100, 2048"));
  EXPECT_GT(forecast_of("8.86B 8 H100, DP2 PP4"), forecast_of("8.86B 64 H100, DP32 PP2"));
  EXPECT_GT(forecast_of("8.86B 64 H100, DP32 PP2"), forecast_of("8.86B 512 H100, DP128 TP4"));
  EXPECT_GT(forecast_of("177B 96 H100, TP8 PP6"), forecast_of("177B 4608 H100, TP8 PP6"));
  EXPECT_GT(forecast_of("Llama-3.1-8B 64 H100, async TP8"), forecast_of("Llama-3.1-8B 64 H100, TP8"));
}

}  // namespace
}  // namespace osler::plan
