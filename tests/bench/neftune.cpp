// Cost of NEFTune's draws on the host: one window of 4096 rows of a 7B model.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <iostream>

#include "base/clock.hpp"
#include "comm/host_memory.hpp"
#include "train/neftune.hpp"

using namespace osler;

int main() {
  comm::keep_freed_memory();  // as osler does
  constexpr std::int64_t kRows = 4096, kWidth = 4096;
  constexpr int kTimes = 5;
  data::Batch batch;
  batch.tokens_BT = batch.segments_BT = at::zeros({1, kRows}, at::kLong);
  batch.samples = {{0, 0, 1}};
  batch.lengths_B = {kRows};
  for (const int threads : {1, 2}) {
    at::set_num_threads(threads);
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      double best = 1e9;
      for (int i = 0; i < kTimes; ++i) {
        const Stopwatch watch;
        train::neftune_noise(batch, {.alpha = 5, .hidden_size = kWidth, .seed = 1, .dtype = dtype});
        best = std::min(best, watch.elapsed_s());
      }
      std::cout << threads << " thread(s), " << dtype << ": " << best * 1e9 / (kRows * kWidth) << " ns an element, "
                << best * 1e3 << " ms a window\n";
    }
  }
}
