#include "train/inputs.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/publish.hpp"
#include "base/sha256.hpp"
#include "base/visibility.hpp"
#include "comm/rank_0_view.hpp"
#include "text/input_files.hpp"
#include "text/tokenizer.hpp"
#include "train/start_checks.hpp"

namespace osler::train {

namespace {

constexpr std::uint64_t kMaxConfigBytes = 1 << 20;  // a config.json has a few kB

void require_available(const RunSpec& spec) {
  if (spec.checkpoint.async)
    throw ConfigError("checkpoint.async = true: this version saves synchronously; set it to false");
}

/// `weights`: what model.from stands for.
void open_model(const RunSpec& spec, const std::string& weights, Inputs& inputs) {
  if (spec.model.from.empty() == spec.model.config.empty())
    throw ConfigError("set exactly one of model.from (weights to go on from) and model.config (random initialisation)");
  if (!spec.model.from.empty()) {
    // Sums are checked when the weights are needed, by all ranks together (trainer.cpp).
    inputs.weights.emplace(weights, checkpoint::Verify::sizes);
    inputs.model_config_text = inputs.weights->model_config();
    inputs.model_config = config::parse_model_config(inputs.model_config_text, inputs.weights->directory());
  } else {
    inputs.model_config_text = read_file(spec.model.config, kMaxConfigBytes);
    inputs.model_config = config::parse_model_config(inputs.model_config_text, spec.model.config);
  }
}

/// model.tokenizer, else what lies beside the weights. Returns its SHA-256, "" without one.
std::string open_tokenizer(const RunSpec& spec, Inputs& inputs) {
  if (!spec.model.tokenizer.empty()) {
    const text::Tokenizer tokenizer(spec.model.tokenizer);
    inputs.tokenizer_files = tokenizer.files();
    return tokenizer.sha256();
  }
  if (!inputs.weights) return {};
  inputs.tokenizer_files = inputs.weights->tokenizer_files();
  for (const auto& file : inputs.tokenizer_files)
    if (file.ends_with("/tokenizer.model")) return text::Tokenizer(file).sha256();
  return {};
}

void check_source(const data::TokenSource& source, const Inputs& inputs, const std::string& tokenizer_sha256) {
  if (source.vocab_size() > inputs.model_config.vocab_size)
    throw DataError("data source ", source.name(), " was tokenized with a vocabulary of ", source.vocab_size(),
                    ", the model has ", inputs.model_config.vocab_size, "; tokenize it with the model's tokenizer");
  if (!tokenizer_sha256.empty() && source.tokenizer_sha256() != tokenizer_sha256)
    throw DataError("data source ", source.name(), " was tokenized with another tokenizer (sha256 ",
                    source.tokenizer_sha256().substr(0, 12), "...) than the model's (", tokenizer_sha256.substr(0, 12),
                    "...); tokenize it again, or correct model.tokenizer");
}

data::TokenSource open_validation(const RunSpec& spec, const config::NamedPath& set) {
  if (spec.stage == Stage::pretrain) return {set.name, set.path, spec.data.sequence_length};
  // Packed alike for every seed, so that losses of runs can be compared.
  return {set.name, set.path,
          data::PackingOptions{.sequence_length = spec.data.sequence_length, .too_long = spec.data.too_long}};
}

void open_data(const RunSpec& spec, Inputs& inputs, std::string tokenizer_sha256, std::int64_t rank) {
  inputs.mixture = std::make_shared<const data::Mixture>(
      spec.data, spec.run.seed, spec.stage == Stage::pretrain ? data::Windows::stream : data::Windows::conversations);
  if (tokenizer_sha256.empty()) tokenizer_sha256 = inputs.mixture->sources().front().tokenizer_sha256();
  for (const auto& source : inputs.mixture->sources()) check_source(source, inputs, tokenizer_sha256);
  const std::int64_t dp_rank = rank / inputs.mesh.tp;
  for (const auto& set : spec.data.validation) {
    const data::TokenSource source = open_validation(spec, set);
    check_source(source, inputs, tokenizer_sha256);
    const std::string& trained_on = inputs.mixture->sources().front().chat_template();
    if (source.chat_template() != trained_on)
      throw DataError("data.validation ", set.name, " was made with the template ", source.chat_template(),
                      ", the training data with ", trained_on, "; tokenize both with one");
    inputs.validation.push_back({set.name, validation_batches(source, spec.data, dp_rank, inputs.mesh.dp)});
  }
}

/// The token shards that rank 0 finds may show here late. If one never does, the ranks have other data, and
/// require_same_inputs() says so.
void wait_for_data(const RunSpec& spec, comm::Group& ranks) {
  std::vector<std::string> files;
  comm::agree_after(ranks, [&] {
    if (ranks.rank() != 0) return;
    const auto add = [&](const std::string& path) {
      for (std::string& file : text::find_files(path)) files.push_back(std::move(file));
    };
    for (const auto& source : spec.data.source) add(source.path);
    for (const auto& set : spec.data.validation) add(set.path);
  });
  files = comm::broadcast_list(ranks, files);
  if (ranks.rank() > 0) std::all_of(files.begin(), files.end(), becomes_visible);
}

/// Ranks that read other files or run another program would train on, and wrongly, or wait for each other for ever.
void require_same_inputs(const Inputs& inputs, comm::Group& ranks) {
  comm::require_same(ranks, "the model's configuration", sha256_hex(inputs.model_config_text),
                     "give every rank the same model.from or model.config");
  std::string data = inputs.mixture->fingerprint();
  for (const auto& set : inputs.validation) data += " " + set.name;
  comm::require_same(ranks, "the data", data, "give every rank the same token shards");
}

}  // namespace

Inputs open_inputs(const RunSpec& spec, comm::World& world) {
  Inputs inputs;
  comm::Group& ranks = world.host();
  comm::require_same(ranks, "the programs", spec.program_version + " " + sha256_hex_of_file("/proc/self/exe"),
                     "start one and the same osler on all ranks");
  comm::require_same(ranks, "the configurations", spec.resolved_ini, "give every rank the same options and files");
  set_visible_within(spec.files.visible_within_s);
  check_outputs(spec, world);
  std::string weights;
  if (!spec.model.from.empty()) weights = checkpoint::find_weights(ranks, spec.model.from, checkpoint::Verify::sizes);
  wait_for_data(spec, ranks);
  comm::agree_after(ranks, [&] {
    require_available(spec);
    open_model(spec, weights, inputs);
    inputs.mesh = plan::build_mesh(ranks.size(), inputs.model_config, spec.parallel, spec.data);
    open_data(spec, inputs, open_tokenizer(spec, inputs), ranks.rank());
  });
  require_same_inputs(inputs, ranks);
  return inputs;
}

}  // namespace osler::train
