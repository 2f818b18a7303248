#include "plan/mesh.hpp"

#include <string>
#include <vector>

#include "base/error.hpp"
#include "config/nearest.hpp"

namespace osler::plan {
namespace {

using config::nearest_divisors;
using config::nearest_multiples;

void check_tensor_parallel(const config::ModelConfig& model, const config::ParallelOptions& parallel,
                           const config::DataOptions& data, std::vector<std::string>& problems) {
  const std::int64_t tp = parallel.tp;
  const auto must_divide = [&](std::int64_t whole, const char* what) {
    if (whole % tp != 0)
      problems.push_back(
          text_of("parallel.tp = ", tp, " does not divide ", what, " = ", whole, "; ", nearest_divisors(tp, whole)));
  };
  // More ranks than key-value heads hold copies of them.
  if (tp <= model.num_kv_heads)
    must_divide(model.num_kv_heads, "the model's key-value heads");
  else if (tp % model.num_kv_heads != 0)
    problems.push_back(text_of("parallel.tp = ", tp, " is no multiple of the model's key-value heads = ",
                               model.num_kv_heads, "; ", nearest_multiples(tp, model.num_kv_heads)));
  must_divide(model.num_heads, "the model's attention heads");
  must_divide(model.vocab_size, "the model's vocabulary");
  if (!model.is_mixture) must_divide(model.intermediate_size, "the model's intermediate size");
  must_divide(data.sequence_length, "data.sequence_length");  // sequence parallelism
}

void check_expert_parallel(std::int64_t world, const config::ModelConfig& model,
                           const config::ParallelOptions& parallel, std::vector<std::string>& problems) {
  const std::int64_t ep = parallel.ep;
  if (!model.is_mixture) {
    if (ep > 1) problems.push_back(text_of("parallel.ep = ", ep, ", but the model has no experts; use 1"));
    return;
  }
  if (model.num_experts % ep != 0)
    problems.push_back(text_of("parallel.ep = ", ep, " does not divide the model's experts = ", model.num_experts, "; ",
                               nearest_divisors(ep, model.num_experts)));
  if (world % ep != 0)
    problems.push_back(text_of("the world of ", world, " ranks is no multiple of parallel.ep = ", ep, "; for ranks ",
                               nearest_multiples(world, ep)));
}

}  // namespace

Mesh build_mesh(std::int64_t world_size, const config::ModelConfig& model, const config::ParallelOptions& parallel,
                const config::DataOptions& data) {
  OSLER_CHECK(world_size > 0 && parallel.tp > 0 && parallel.ep > 0 && data.micro_batch > 0, "a size is not positive");
  std::vector<std::string> problems;
  Mesh mesh{.world = world_size, .tp = parallel.tp, .ep = parallel.ep};
  if (data.sequence_length > model.max_position_embeddings)
    problems.push_back(text_of("data.sequence_length = ", data.sequence_length, " is more than the model's ",
                               model.max_position_embeddings, " positions; use at most that"));
  check_tensor_parallel(model, parallel, data, problems);
  check_expert_parallel(world_size, model, parallel, problems);
  if (world_size % parallel.tp != 0) {
    problems.push_back(text_of("the world of ", world_size, " ranks is no multiple of parallel.tp = ", parallel.tp,
                               "; for ranks ", nearest_multiples(world_size, parallel.tp)));
  } else {
    mesh.dp = world_size / parallel.tp;
    mesh.edp = world_size / parallel.ep;
    const std::int64_t step = mesh.dp * data.micro_batch;
    mesh.accumulation_steps = data.global_batch / step;
    if (data.global_batch % step != 0)
      problems.push_back(text_of("data.global_batch = ", data.global_batch,
                                 " is no multiple of dp * data.micro_batch = ", mesh.dp, " * ", data.micro_batch, "; ",
                                 nearest_multiples(data.global_batch, step)));
  }
  if (problems.empty()) return mesh;
  std::string text;
  for (const std::string& problem : problems) text += (text.empty() ? "" : "\n  ") + problem;
  if (problems.size() == 1) throw ConfigError(text);
  throw ConfigError(problems.size(), " numbers do not fit together:\n  ", text);
}

}  // namespace osler::plan
