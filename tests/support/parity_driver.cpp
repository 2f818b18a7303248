// Runs one model on one batch and writes everything a Python test may want to compare: logits, losses, every gradient
// by its published name, and the losses of some optimizer steps.
//
//   parity_driver CASE_DIRECTORY
//   parity_driver generate CASE_DIRECTORY     (parity_generate.cpp)
//   parity_driver verify                      (verify_files.hpp)
// CASE_DIRECTORY/case.json may ask for batches instead (dump_batches.hpp). Otherwise it names the model directory, the
// dtype and the batch; results go to CASE_DIRECTORY/out as raw float64 files and out.json.
#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "checkpoint/weights.hpp"
#include "comm/group.hpp"
#include "comm/torch_dtype.hpp"
#include "loss/cross_entropy.hpp"
#include "loss/router_loss.hpp"
#include "model/model.hpp"
#include "optim/adamw.hpp"
#include "plan/parameter_specs.hpp"
#include "support/dump_batches.hpp"
#include "support/parity_generate.hpp"
#include "support/verify_files.hpp"

using namespace osler;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

struct Case {
  fs::path directory;
  json spec;
  at::Tensor tokens, labels, positions;
  model::AttentionLayout layout;
};

at::Tensor index_tensor(const json& values) {
  return at::tensor(values.get<std::vector<std::int64_t>>(), at::kLong);
}

Case read_case(const fs::path& directory) {
  std::ifstream file(directory / "case.json");
  Case c{directory, json::parse(file), {}, {}, {}, {}};
  c.tokens = index_tensor(c.spec.at("tokens"));
  c.labels = index_tensor(c.spec.at("labels"));
  c.positions = index_tensor(c.spec.at("positions"));
  for (const auto& s : c.spec.at("segments")) {  // [length] or [length, prefix_begin, prefix_length]
    model::Segment segment{c.layout.num_rows, s.at(0), 0, 0};
    if (s.size() == 3) segment.prefix_begin = s.at(1), segment.prefix_length = s.at(2);
    c.layout.segments.push_back(segment);
    c.layout.num_rows += segment.length;
  }
  return c;
}

void write_tensor(const Case& c, const std::string& name, const at::Tensor& tensor) {
  const at::Tensor values = tensor.detach().to(at::kDouble).contiguous();
  std::ofstream file(c.directory / "out" / (name + ".bin"), std::ios::binary);
  file.write(static_cast<const char*>(values.const_data_ptr()), values.numel() * 8);
}

class Runner {
 public:
  Runner(const Case& c, const config::ModelConfig& config, parallel::ParameterStore& store, config::Recompute recompute)
      : case_(c), model_(config, store, recompute) {}

  /// Forward, losses, backward; the objective is token loss * scale + coefficients * router losses.
  json run(bool write) {
    const auto output = model_.forward(case_.tokens, case_.positions, case_.layout);
    const double scale = case_.spec.value("grad_scale", 1.0);
    if (write) write_tensor(case_, "logits", at::mm(output.hidden_RD, model_.head().data.t()));
    const auto token = loss::cross_entropy(output.hidden_RD, model_.head(), case_.labels, scale);
    at::Tensor objective = token.scaled;
    json out{{"token_loss", token.sum.item<double>() * scale}, {"num_tokens", token.num_tokens}};
    if (model_.config().is_mixture) {
      const auto convention =
          case_.spec.value("aux_loss", "hf") == "hf" ? config::AuxLoss::hf : config::AuxLoss::megatron;
      const double z_coefficient = case_.spec.value("z_coefficient", 0.0);
      const auto router =
          loss::router_loss(output.router.logits_RE, output.router.expert_RK, model_.config().num_experts,
                            model_.config().top_k, convention, z_coefficient > 0);
      out["aux_loss"] = router.aux.item<double>();
      objective = objective + router.aux * case_.spec.value("aux_coefficient", 0.0);
      if (router.z.defined()) objective = objective + router.z * z_coefficient;
      if (router.z.defined()) out["z_loss"] = router.z.item<double>();
    }
    out["loss"] = objective.item<double>();
    if (objective.requires_grad()) objective.backward();
    return out;
  }

 private:
  const Case& case_;
  model::Model model_;
};

json train(const Case& c, Runner& runner, parallel::ParameterStore& store) {
  config::OptimOptions options;
  const json& spec = c.spec.at("optimizer");
  options.beta1 = spec.at("beta1"), options.beta2 = spec.at("beta2"), options.eps = spec.at("eps");
  options.weight_decay = spec.at("weight_decay");
  optim::AdamW adamw(store, comm::single(), options);
  json losses = json::array();
  for (std::int64_t step = 1; step <= spec.at("steps").get<std::int64_t>(); ++step) {
    store.zero_grad();
    losses.push_back(runner.run(false).at("loss"));
    adamw.reduce_gradients();
    const double norm = adamw.compute_grad_norm(), clip = spec.at("clip_norm");
    adamw.step(step, spec.at("learning_rate"), std::min(1.0, clip / (norm + 1e-6)));
  }
  return losses;
}

void run_case(const fs::path& directory) {
  if (const json spec = json::parse(std::ifstream(directory / "case.json")); spec.contains("batches"))
    return test::dump_batches(spec.at("batches"), directory / "out");
  const Case c = read_case(directory);
  fs::create_directories(directory / "out");
  const checkpoint::Weights weights(c.spec.at("model").get<std::string>());
  const auto config = config::parse_model_config(weights.model_config(), "config.json");
  const DType dtype = dtype_from_name(c.spec.at("dtype").get<std::string>());
  parallel::ParameterStore store(plan::parameter_specs(config), at::TensorOptions().dtype(comm::scalar_type_of(dtype)));
  weights.load(parallel::tensors_of(store, "model/"));
  const bool with_gradients = c.spec.value("gradients", true);
  if (with_gradients) store.allocate_grad();
  const std::string recompute = c.spec.value("recompute", "none");
  Runner runner(c, config, store,
                recompute == "full"        ? config::Recompute::full
                : recompute == "selective" ? config::Recompute::selective
                                           : config::Recompute::none);
  json out = runner.run(true);
  if (with_gradients)
    for (const auto& parameter : store.parameters()) write_tensor(c, parameter.name, parameter.grad);
  if (c.spec.contains("optimizer")) out["losses"] = train(c, runner, store);
  std::ofstream(directory / "out" / "out.json") << out.dump();
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc > 1 && std::string(argv[1]) == "generate") {
    osler::tests::run_generate_case(argc, argv);
    return 0;
  }
  if (argc == 2 && std::string(argv[1]) == "verify") {
    osler::tests::run_verify_files();
    return 0;
  }
  OSLER_CHECK(argc == 2, "usage: parity_driver CASE_DIRECTORY");
  run_case(argv[1]);
  return 0;
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 8;
}
