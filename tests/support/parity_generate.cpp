// case.json: model, dtype, tp, ep, batch_tokens, seed, alone (each request in a call of its own), requests [{prompt,
// max_new_tokens, stop, temperature, top_p, key, num_samples}]; or `scores` [{context, continuations}] and `texts` to
// be embedded. Items are dealt over the dp ranks. CASE_DIRECTORY/out.json: what came out.
#include "support/parity_generate.hpp"

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "checkpoint/weights.hpp"
#include "comm/mesh_groups.hpp"
#include "comm/torch_dtype.hpp"
#include "comm/world.hpp"
#include "generate/embedder.hpp"
#include "generate/generator.hpp"
#include "generate/scorer.hpp"
#include "plan/parameter_specs.hpp"

namespace osler::tests {
namespace {

using nlohmann::json;

generate::GenerateRequest request_of(const json& spec) {
  generate::GenerateRequest request;
  request.prompt = spec.at("prompt").get<std::vector<int>>();
  request.max_new_tokens = spec.at("max_new_tokens");
  request.stop = spec.value("stop", std::vector<std::string>());
  request.sampling = {spec.value("temperature", 0.0), spec.value("top_p", 1.0)};
  request.key = spec.value("key", std::uint64_t{0});
  request.num_samples = spec.value("num_samples", 1);
  return request;
}

json to_json(const std::vector<generate::Generation>& samples) {
  json out = json::array();
  for (const auto& sample : samples)
    out.push_back({{"ids", sample.ids},
                   {"log_probs", sample.log_probs},
                   {"finish", static_cast<int>(sample.finish)},
                   {"text", std::vector<int>(sample.text.begin(), sample.text.end())}});
  return out;
}

class GenerateCase {
 public:
  GenerateCase(const json& spec, const comm::MeshGroups& groups, c10::Device device)
      : spec_(spec),
        groups_(groups),
        device_(device),
        weights_(spec.at("model").get<std::string>()),
        config_(config::parse_model_config(weights_.model_config(), "config.json")),
        store_(
            plan::parameter_specs_of_rank(config_, groups.mesh(), groups.world().rank()),
            at::TensorOptions(device).dtype(comm::scalar_type_of(dtype_from_name(spec.at("dtype").get<std::string>()))),
            plan::sharers_of(groups.mesh())),
        model_(config_, store_, config::Recompute::none, groups) {
    weights_.load(parallel::tensors_of(store_, "model/"));
  }

  json run() {
    const std::int64_t batch_tokens = spec_.at("batch_tokens");
    json out;
    if (spec_.contains("requests")) out["generations"] = whole(generations(batch_tokens), "requests");
    if (spec_.contains("scores")) out["scores"] = whole(scores(batch_tokens), "scores");
    if (spec_.contains("texts"))
      out["embeddings"] = whole(
          generate::embed(model_, own("texts").get<std::vector<std::vector<int>>>(), batch_tokens, device_), "texts");
    return out;
  }

 private:
  /// This dp rank's items: every dp-th.
  json own(const char* what) const {
    json items = json::array();
    const auto& all = spec_.at(what);
    for (auto i = static_cast<std::size_t>(groups_.dp().rank()); i < all.size();
         i += static_cast<std::size_t>(groups_.dp().size()))
      items.push_back(all[i]);
    return items;
  }

  json whole(const json& mine, const char* what) const {
    std::vector<json> parts;
    for (const std::string& part : groups_.dp().all_gather_bytes(mine.dump())) parts.push_back(json::parse(part));
    json all = json::array();
    for (std::size_t i = 0; i < spec_.at(what).size(); ++i) all.push_back(parts[i % parts.size()].at(i / parts.size()));
    return all;
  }

  json generations(std::int64_t batch_tokens) {
    const text::Tokenizer tokenizer(spec_.at("model").get<std::string>());
    std::vector<generate::GenerateRequest> requests;
    for (const json& item : own("requests")) requests.push_back(request_of(item));
    const std::uint64_t seed = spec_.value("seed", std::uint64_t{0});
    json out = json::array();
    if (!spec_.value("alone", false)) {
      for (const auto& samples : generate::generate(model_, tokenizer, requests, seed, batch_tokens, device_))
        out.push_back(to_json(samples));
      return out;
    }
    for (const auto& request : requests)
      out.push_back(to_json(generate::generate(model_, tokenizer, {request}, seed, batch_tokens, device_).at(0)));
    return out;
  }

  json scores(std::int64_t batch_tokens) {
    std::vector<generate::ScoreRequest> requests;
    for (const json& item : own("scores"))
      requests.push_back(
          {item.at("context").get<std::vector<int>>(), item.at("continuations").get<std::vector<std::vector<int>>>()});
    json out = json::array();
    for (const auto& one : generate::score(model_, requests, batch_tokens, device_)) {
      json row = json::array();
      for (const auto& score : one) row.push_back({score.log_likelihood, score.is_greedy});
      out.push_back(row);
    }
    return out;
  }

  const json& spec_;
  const comm::MeshGroups& groups_;
  c10::Device device_;
  checkpoint::Weights weights_;
  config::ModelConfig config_;
  parallel::ParameterStore store_;
  model::Model model_;
};

}  // namespace

void run_generate_case(int argc, char** argv) {
  OSLER_CHECK(argc == 3, "usage: parity_driver generate CASE_DIRECTORY");
  comm::World world(argc, argv);
  const std::filesystem::path directory = argv[2];
  std::ifstream file(directory / "case.json");
  const json spec = json::parse(file);
  const std::int64_t size = world.ranks().size(), tp = spec.value("tp", 1), ep = spec.value("ep", 1);
  OSLER_CHECK(size == spec.value("ranks", 1), "the case wants ", spec.value("ranks", 1), " ranks, there are ", size);
  const comm::MeshGroups groups(world.ranks(), {.world = size, .tp = tp, .dp = size / tp, .ep = ep, .edp = size / ep});
  const json out = GenerateCase(spec, groups, world.device()).run();
  if (world.host().rank() == 0) std::ofstream(directory / "out.json") << out.dump();
}

}  // namespace osler::tests
