// One Osler training process for tests/bench/train_throughput.py: builds a model from a config.json with random
// weights, then for every line read from stdin runs one step (forward, backward, clip, AdamW) on one batch and answers
// with a line of JSON: seconds, loss and the process's peak memory.
//
//   bench_train_step CONFIG_JSON DTYPE BATCH SEQUENCE THREADS RECOMPUTE [profile]
//
// With `profile`, self times of LibTorch's operations and of backward nodes go to stderr after the last step.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <malloc.h>
#include <sys/resource.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <fstream>
#include <iostream>

#include "base/error.hpp"
#include "bench/self_times.hpp"
#include "comm/group.hpp"
#include "comm/host_memory.hpp"
#include "comm/torch_dtype.hpp"
#include "loss/cross_entropy.hpp"
#include "loss/router_loss.hpp"
#include "model/model.hpp"
#include "optim/adamw.hpp"
#include "plan/parameter_specs.hpp"

using namespace osler;

namespace {

using bench::now_s;

double peak_gb() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1048576.0;
}

class Bench {
 public:
  Bench(const config::ModelConfig& config, DType dtype, std::int64_t batch, std::int64_t length,
        config::Recompute recompute)
      : store_(plan::parameter_specs(config), at::TensorOptions().dtype(comm::scalar_type_of(dtype))),
        model_(config, store_, recompute) {
    model::initialize(store_, config, 1);
    store_.allocate_grad();
    options_.learning_rate = 1e-4;
    adamw_ = std::make_unique<optim::AdamW>(store_, comm::single(), options_);
    at::manual_seed(0);
    tokens_ = at::randint(config.vocab_size, {batch * length}, at::kLong);
    labels_ = tokens_.view({batch, length}).roll(-1, 1);
    labels_.select(1, length - 1).fill_(loss::kIgnoreLabel);
    labels_ = labels_.reshape({-1});
    positions_ = at::arange(length).repeat({batch});
    layout_.num_rows = batch * length;
    for (std::int64_t b = 0; b < batch; ++b) layout_.segments.push_back({.begin = b * length, .length = length});
    num_tokens_ = batch * (length - 1);
  }

  double step() {
    const auto& config = model_.config();
    store_.zero_grad();
    double value = 0;
    {
      const auto output = model_.forward(tokens_, positions_, layout_);
      const auto token =
          loss::cross_entropy(output.hidden_RD, model_.head(), labels_, 1.0 / static_cast<double>(num_tokens_));
      at::Tensor objective = token.scaled;
      if (config.is_mixture)
        objective = objective + config.router_aux_coefficient *
                                    loss::router_loss(output.router.logits_RE, output.router.expert_RK,
                                                      config.num_experts, config.top_k, config::AuxLoss::hf, false)
                                        .aux;
      objective.backward();
      value = token.scaled.item<double>();
    }
    adamw_->reduce_gradients();
    const double norm = adamw_->compute_grad_norm();
    adamw_->step(++step_, options_.learning_rate, std::min(1.0, options_.clip_norm / (norm + 1e-6)));
    return value;
  }

 private:
  parallel::ParameterStore store_;
  model::Model model_;
  config::OptimOptions options_;
  std::unique_ptr<optim::AdamW> adamw_;
  at::Tensor tokens_, labels_, positions_;
  model::AttentionLayout layout_;
  std::int64_t num_tokens_ = 0, step_ = 0;
};

void run(int argc, char** argv) {
  OSLER_CHECK(argc >= 7, "usage: bench_train_step CONFIG_JSON DTYPE BATCH SEQUENCE THREADS RECOMPUTE [profile]");
  comm::keep_freed_memory();
  at::set_num_threads(std::stoi(argv[5]));
  std::ifstream file(argv[1]);
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  const std::string recompute = argv[6];
  Bench bench(config::parse_model_config(text, argv[1]), dtype_from_name(argv[2]), std::stoll(argv[3]),
              std::stoll(argv[4]),
              recompute == "full"        ? config::Recompute::full
              : recompute == "selective" ? config::Recompute::selective
                                         : config::Recompute::none);
  const bool profile = argc > 7;
  std::int64_t steps = 0;
  for (std::string line; std::getline(std::cin, line);) {
    if (profile && steps == 1) bench::record_self_times();  // after the warm-up
    const double start = now_s(), value = bench.step();
    std::cout << "{\"seconds\": " << now_s() - start << ", \"loss\": " << value << ", \"peak_gb\": " << peak_gb() << "}"
              << std::endl;
    if (profile)
      std::cerr << "live " << static_cast<double>(mallinfo2().uordblks + mallinfo2().hblkhd) / 1073741824.0 << " GB\n";
    ++steps;
  }
  if (profile) bench::print_self_times();
}

}  // namespace

int main(int argc, char** argv) try {
  run(argc, argv);
  return 0;
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 8;
}
