#include "plan/search.hpp"

#include <algorithm>
#include <array>
#include <set>
#include <tuple>

#include "base/error.hpp"
#include "plan/device.hpp"
#include "plan/throughput.hpp"

namespace osler::plan {
namespace {

constexpr std::array kRecomputes{config::Recompute::none, config::Recompute::selective, config::Recompute::full};
constexpr std::int64_t kMostMicroBatch = 16;

std::vector<std::int64_t> divisors(std::int64_t number) {
  std::vector<std::int64_t> found;
  for (std::int64_t divisor = 1; divisor <= number; ++divisor)
    if (number % divisor == 0) found.push_back(divisor);
  return found;
}

std::optional<Mesh> mesh_that_divides(const ForecastInput& input, std::int64_t world_size) {
  try {
    return build_mesh(world_size, input.model, input.parallel, input.data);
  } catch (const ConfigError&) {
    return std::nullopt;
  }
}

void consider(const ForecastInput& input, std::int64_t world_size, double device_bytes,
              std::vector<Candidate>& candidates) {
  const std::optional<Mesh> mesh = mesh_that_divides(input, world_size);
  if (!mesh) return;
  const double memory = total_bytes(memory_of_rank(input, *mesh));
  if (memory > device_bytes) return;
  const double step_s = time_of_step(input, *mesh).total_s();
  const auto tokens = static_cast<double>(input.data.global_batch * input.data.sequence_length);
  candidates.push_back({*mesh, input.data.micro_batch, input.parallel.recompute, memory, step_s, tokens / step_s});
}

}  // namespace

bool can_search(const ForecastInput& input) {
  return device_memory_bytes(input.cluster.gpu) > 0 && peak_flops(input.cluster.gpu, input.parallel.dtype) > 0;
}

std::vector<Candidate> search_layouts(const ForecastInput& input, std::int64_t world_size) {
  const double device_bytes = device_memory_bytes(input.cluster.gpu);
  if (!can_search(input))
    throw ConfigError("a search needs cluster.gpu = h100, h200 or a100: memory and peak of '", input.cluster.gpu,
                      "' are not known");
  std::vector<Candidate> candidates;
  ForecastInput at = input;
  for (const std::int64_t tp : divisors(input.model.num_heads)) {
    for (const std::int64_t ep : divisors(std::max<std::int64_t>(1, input.model.num_experts))) {
      for (std::int64_t micro_batch = 1; micro_batch <= kMostMicroBatch; micro_batch *= 2) {
        for (const config::Recompute recompute : kRecomputes) {
          at.parallel.tp = tp, at.parallel.ep = ep, at.parallel.recompute = recompute;
          at.data.micro_batch = micro_batch;
          consider(at, world_size, device_bytes, candidates);
        }
      }
    }
  }
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    return std::tie(a.step_s, a.memory_bytes) < std::tie(b.step_s, b.memory_bytes);
  });
  return candidates;
}

std::vector<Candidate> smallest_layouts(const ForecastInput& input, std::int64_t most_ranks) {
  std::set<std::int64_t> world_sizes;
  for (const std::int64_t tp : divisors(input.model.num_heads))
    for (const std::int64_t dp : divisors(input.data.global_batch))
      if (tp * dp <= most_ranks) world_sizes.insert(tp * dp);
  for (const std::int64_t world_size : world_sizes) {
    std::vector<Candidate> candidates = search_layouts(input, world_size);
    if (!candidates.empty()) return candidates;
  }
  return {};
}

}  // namespace osler::plan
