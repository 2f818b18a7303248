// How fast a checkpoint is saved, verified and loaded. Timed on demand only:
//   OSLER_BENCH_DIR=DIR mpirun -n 2 build/release/ranks_checkpoint --gtest_also_run_disabled_tests
//   --gtest_filter=*Bandwidth*
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "base/clock.hpp"
#include "checkpoint/checkpoint.hpp"
#include "support/ranks_world.hpp"

namespace osler::checkpoint {
namespace {

TEST(Bandwidth, DISABLED_SaveVerifyLoad) {
  constexpr std::int64_t kTensors = 64;
  constexpr std::int64_t kRows = 4096;
  constexpr std::int64_t kColumns = 1024;  // 64 tensors of 16 MiB: 1.07 GB
  comm::Group& group = tests::world().host();
  const char* folder = std::getenv("OSLER_BENCH_DIR");
  ASSERT_NE(folder, nullptr) << "set OSLER_BENCH_DIR";
  const std::string root = std::string(folder) + "/osler_bench_checkpoints";

  SaveRequest request{.root = root, .keep = 1};
  const auto range = plan::split_range(kRows, group.size(), group.rank());
  for (std::int64_t t = 0; t < kTensors; ++t) {
    const std::string name = "optim/master/model.layers." + std::to_string(t) + ".weight";
    request.tensors.push_back({{name, DType::fp32, {kRows, kColumns}, {range.begin, 0}, {range.size(), kColumns}},
                               at::rand({range.size(), kColumns})});
  }
  constexpr double kGigabytes = kTensors * kRows * kColumns * 4 / 1e9;
  for (std::int64_t round = 1; round <= 3; ++round) {
    request.state.step = round;
    group.barrier();
    const Stopwatch save_time;
    const std::string path = save(group, request);
    group.barrier();
    const double save_s = save_time.elapsed_s();
    const Stopwatch verify_time;
    verify(group, path);
    const double verify_s = verify_time.elapsed_s();
    const Stopwatch load_time;
    Reader(path).load(request.tensors);
    group.barrier();
    const double load_s = load_time.elapsed_s();
    if (group.rank() == 0)
      std::cout << group.size() << " ranks, " << kGigabytes << " GB: save " << kGigabytes / save_s << " GB/s, verify "
                << kGigabytes / verify_s << " GB/s, load " << kGigabytes / load_s << " GB/s" << std::endl;
  }
  group.barrier();
  if (group.rank() == 0) std::filesystem::remove_all(root);
}

}  // namespace
}  // namespace osler::checkpoint
