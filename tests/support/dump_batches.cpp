#include "support/dump_batches.hpp"

#include <ATen/ATen.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "data/mixture.hpp"
#include "train/neftune.hpp"

namespace osler::test {
namespace {

void write(const std::filesystem::path& path, const at::Tensor& tensor) {
  const at::Tensor values = tensor.to(at::kDouble).contiguous();
  std::ofstream file(path, std::ios::binary);
  file.write(static_cast<const char*>(values.const_data_ptr()), values.numel() * 8);
}

}  // namespace

void dump_batches(const nlohmann::json& spec, const std::filesystem::path& folder) {
  config::DataOptions data;
  for (const auto& source : spec.at("source")) data.source.push_back({source.at(0), source.at(1), source.at(2)});
  data.sequence_length = spec.at("sequence_length");
  data.global_batch = data.micro_batch = spec.at("global_batch");
  data.too_long = spec.value("too_long", "drop") == "cut" ? config::TooLong::cut : config::TooLong::drop;
  const std::uint64_t seed = spec.at("seed");
  const data::Mixture mixture(data, seed, data::Windows::conversations);
  std::filesystem::create_directories(folder);
  for (std::int64_t step = 0; step < spec.at("steps").get<std::int64_t>(); ++step) {
    const data::Batch batch = mixture.batches_of_step(step, 0, 1).at(0);
    const auto file = [&](const char* name) { return folder / ("step_" + std::to_string(step) + "_" + name + ".bin"); };
    write(file("tokens"), batch.tokens_BT);
    write(file("labels"), batch.labels_BT);
    write(file("positions"), batch.positions_BT);
    write(file("segments"), batch.segments_BT);
    write(file("length"), at::tensor(batch.lengths_B));
    write(file("noise"), train::neftune_noise(
                             batch, {.alpha = spec.at("alpha"), .hidden_size = spec.at("hidden_size"), .seed = seed}));
  }
}

}  // namespace osler::test
