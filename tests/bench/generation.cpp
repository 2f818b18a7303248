// The Osler process of tests/bench/generation.py: loads a model directory and its tokenizer, then answers each line of
// JSON on stdin with one of its own.
//
//   bench_generation MODEL_DIRECTORY DTYPE THREADS [profile]
//
// {"work": "generate", "prompts": [[ids]], "new": n, "samples": s}   -> {"seconds", "cpu_seconds", "ids": [[of the
// first sample]]}
// {"work": "score", "contexts": [[ids]], "options": [ids]}           -> {"seconds", "cpu_seconds", "scores":
// [[log-likelihoods]]} With `profile`, self times of LibTorch's operations of all but the first line go to stderr at
// the end.
#include <ATen/Parallel.h>

#include <iostream>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "bench/self_times.hpp"
#include "checkpoint/weights.hpp"
#include "comm/host_memory.hpp"
#include "comm/torch_dtype.hpp"
#include "generate/generator.hpp"
#include "generate/scorer.hpp"
#include "plan/parameter_specs.hpp"

using namespace osler;
using nlohmann::json;

namespace {

constexpr std::int64_t kBatchTokens = 32768;

class Bench {
 public:
  Bench(const std::string& directory, DType dtype)
      : weights_(directory),
        config_(config::parse_model_config(weights_.model_config(), "config.json")),
        tokenizer_(directory),
        store_(plan::parameter_specs(config_), at::TensorOptions().dtype(comm::scalar_type_of(dtype))),
        model_(config_, store_, config::Recompute::none) {
    weights_.load(parallel::tensors_of(store_, "model/"));
  }

  json answer(const json& question) { return question.at("work") == "score" ? score(question) : generate(question); }

 private:
  json generate(const json& question) {
    std::vector<generate::GenerateRequest> requests;
    for (const auto& prompt : question.at("prompts")) {
      generate::GenerateRequest request;
      request.prompt = prompt.get<std::vector<int>>();
      request.max_new_tokens = question.at("new");
      request.num_samples = question.value("samples", 1);
      if (request.num_samples > 1) request.sampling = {1.0, 1.0};
      requests.push_back(request);
    }
    const bench::Clocks start;
    const auto generations = generate::generate(model_, tokenizer_, requests, 0, kBatchTokens, c10::Device(c10::kCPU));
    json out{{"seconds", start.elapsed_s()}, {"cpu_seconds", start.cpu_s()}};
    for (const auto& samples : generations) out["ids"].push_back(samples.at(0).ids);
    return out;
  }

  json score(const json& question) {
    std::vector<generate::ScoreRequest> requests;
    for (const auto& context : question.at("contexts")) {
      generate::ScoreRequest request{context.get<std::vector<int>>(), {}};
      for (const int option : question.at("options")) request.continuations.push_back({option});
      requests.push_back(request);
    }
    const bench::Clocks start;
    const auto scores = generate::score(model_, requests, 16384, c10::Device(c10::kCPU));
    json out{{"seconds", start.elapsed_s()}, {"cpu_seconds", start.cpu_s()}};
    for (const auto& item : scores) {
      json row = json::array();
      for (const auto& option : item) row.push_back(option.log_likelihood);
      out["scores"].push_back(row);
    }
    return out;
  }

  checkpoint::Weights weights_;
  config::ModelConfig config_;
  text::Tokenizer tokenizer_;
  parallel::ParameterStore store_;
  model::Model model_;
};

void run(int argc, char** argv) {
  OSLER_CHECK(argc >= 4, "usage: bench_generation MODEL_DIRECTORY DTYPE THREADS [profile]");
  comm::keep_freed_memory();
  at::set_num_threads(std::stoi(argv[3]));
  Bench subject(argv[1], dtype_from_name(argv[2]));
  const bool profile = argc > 4;
  double elapsed = 0;
  std::int64_t answers = 0;
  for (std::string line; std::getline(std::cin, line); ++answers) {
    if (profile && answers == 1) bench::record_self_times();  // after the warm-up
    const json out = subject.answer(json::parse(line));
    if (answers > 0) elapsed += out.at("seconds").get<double>();
    std::cout << out.dump() << std::endl;
  }
  if (profile) bench::print_self_times(elapsed);
}

}  // namespace

int main(int argc, char** argv) try {
  run(argc, argv);
  return 0;
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 8;
}
