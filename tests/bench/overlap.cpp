// What a step costs when its gradients are reduced after it, and when they are reduced beside it: matrix products in
// the place of the backward pass, buckets started as it goes. Run by hand, e.g.
//   mpirun -n 2 build/release/bench_overlap 64 8        MB of fp32 gradients, buckets
#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <iostream>
#include <thread>

#include "base/clock.hpp"
#include "comm/world.hpp"

namespace osler {
namespace {

constexpr int kRepeats = 9;

double cpu_s() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

struct Cost {
  double wall_s;
  double cpu_s;
};

/// Median wall time of the slowest rank, and this rank's processor time beside it.
template <class Work>
Cost cost_of(comm::Group& group, const Work& work) {
  std::vector<Cost> costs;
  for (int i = 0; i < kRepeats; ++i) {
    group.barrier();
    const Stopwatch watch;
    const double cpu_before = cpu_s();
    work();
    costs.push_back({group.all_reduce_value(watch.elapsed_s(), comm::ReduceOp::max), cpu_s() - cpu_before});
  }
  std::sort(costs.begin(), costs.end(), [](const Cost& a, const Cost& b) { return a.wall_s < b.wall_s; });
  return costs[kRepeats / 2];
}

void run(comm::World& world, std::int64_t megabytes, std::int64_t num_buckets) {
  comm::Group& group = world.host();
  const std::int64_t part = megabytes * (1 << 20) / 4 / num_buckets / group.size();
  const at::Tensor a = at::ones({1024, 1024}, at::kFloat);
  std::vector<at::Tensor> buckets, shards;
  for (std::int64_t i = 0; i < num_buckets; ++i) {
    buckets.push_back(at::ones({part * group.size()}, at::kFloat));
    shards.push_back(buckets.back().narrow(0, part * group.rank(), part));
  }
  constexpr int kProducts = 4;  // per bucket: about 0.1 s on one core
  const auto compute = [&] {
    for (int i = 0; i < kProducts; ++i) at::mm(a, a);
  };
  const auto report = [&](const char* what, const Cost& cost) {
    if (group.rank() == 0) std::cout << what << "  " << cost.wall_s << " s, rank 0's cores " << cost.cpu_s << " s\n";
  };
  const auto over_buckets = [&](const auto& work) {
    for (std::size_t i = 0; i < buckets.size(); ++i) work(i);
  };
  report("computing alone         ", cost_of(group, [&] { over_buckets([&](std::size_t) { compute(); }); }));
  report("reducing alone          ", cost_of(group, [&] {
           over_buckets([&](std::size_t i) { group.reduce_scatter(shards[i], buckets[i], comm::ReduceOp::max); });
         }));
  report("reducing alone, started ", cost_of(group, [&] {
           over_buckets(
               [&](std::size_t i) { group.start_reduce_scatter(shards[i], buckets[i], comm::ReduceOp::max)->wait(); });
         }));
  report("waiting 0.5 s for rank 1", cost_of(group, [&] {
           if (group.rank() == 1) std::this_thread::sleep_for(std::chrono::milliseconds(500));
           group.start_reduce_scatter(shards[0], buckets[0], comm::ReduceOp::max)->wait();
         }));
  report("one after the other     ", cost_of(group, [&] {
           over_buckets([&](std::size_t) { compute(); });
           over_buckets([&](std::size_t i) { group.reduce_scatter(shards[i], buckets[i], comm::ReduceOp::max); });
         }));
  report("beside each other       ", cost_of(group, [&] {
           std::vector<std::unique_ptr<comm::Pending>> pending;
           over_buckets([&](std::size_t i) {
             compute();
             pending.push_back(group.start_reduce_scatter(shards[i], buckets[i], comm::ReduceOp::max));
           });
           for (const auto& one : pending) one->wait();
         }));
}

}  // namespace
}  // namespace osler

int main(int argc, char** argv) {
  osler::comm::World world(argc, argv);
  osler::run(world, argc > 1 ? std::atoll(argv[1]) : 64, argc > 2 ? std::atoll(argv[2]) : 8);
}
