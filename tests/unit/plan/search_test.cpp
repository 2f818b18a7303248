#include <gtest/gtest.h>

#include "base/error.hpp"
#include "plan/search.hpp"
#include "plan/throughput.hpp"
#include "unit/plan/models.hpp"

namespace osler::plan {
namespace {

ForecastInput mixtral_run() {
  ForecastInput input;
  input.model = mixtral();
  input.data = batch(512, 1);
  return input;
}

TEST(Search, RanksWhatFitsByStepTime) {
  const ForecastInput input = mixtral_run();
  const auto found = search_layouts(input, 64);
  ASSERT_GT(found.size(), 10u);
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(found[i].mesh.world, 64);
    EXPECT_LE(found[i].memory_bytes, device_memory_bytes("h100"));
    EXPECT_EQ(512 % (found[i].mesh.dp * found[i].micro_batch), 0);
    if (i > 0) {
      EXPECT_LE(found[i - 1].step_s, found[i].step_s);
    }
  }
  EXPECT_EQ(found.front().mesh.ep, 8);  // experts do not fit otherwise
  EXPECT_EQ(found.front().mesh.tp, 1);
  // The numbers are those of the forecast of that layout.
  ForecastInput first = input;
  first.parallel.ep = 8, first.parallel.recompute = found.front().recompute;
  first.data.micro_batch = found.front().micro_batch;
  const Forecast forecast = compute_forecast(first, found.front().mesh);
  EXPECT_EQ(forecast.memory_bytes, found.front().memory_bytes);
  EXPECT_EQ(forecast.step.total_s(), found.front().step_s);
}

TEST(Search, FindsTheFewestRanksThatFit) {
  const auto smallest = smallest_layouts(mixtral_run(), 4096);
  ASSERT_FALSE(smallest.empty());
  const std::int64_t world = smallest.front().mesh.world;
  EXPECT_EQ(world, 16);
  EXPECT_TRUE(search_layouts(mixtral_run(), world / 2).empty());
  EXPECT_TRUE(smallest_layouts(mixtral_run(), 8).empty());
  ForecastInput larger = mixtral_run();
  larger.cluster.gpu = "h200";
  EXPECT_LE(smallest_layouts(larger, 4096).front().mesh.world, world);
}

TEST(Search, TriesWorldSizesThatAreNoPowersOfTwo) {
  ForecastInput input;
  input.model = mistral();
  input.model.vocab_size = 32001;  // no tp divides it with 32 heads
  input.data = batch(3 * 7, 1);
  const auto smallest = smallest_layouts(input, 4096);
  ASSERT_FALSE(smallest.empty());
  EXPECT_EQ(smallest.front().mesh.world, 3);
  EXPECT_TRUE(search_layouts(input, 4).empty());
}

TEST(Search, IsEmptyWhereNothingDividesAndRefusesUnknownDevices) {
  EXPECT_TRUE(search_layouts(mixtral_run(), 7).empty());
  ForecastInput input = mixtral_run();
  input.cluster.gpu = "cpu";
  EXPECT_FALSE(can_search(input));
  EXPECT_THROW(search_layouts(input, 64), ConfigError);
}

}  // namespace
}  // namespace osler::plan
