#include "model_tensors.hpp"

#include <map>

#include "base/error.hpp"
#include "base/log.hpp"
#include "plan/parameter_specs.hpp"

namespace osler::app {

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text;
  for (const std::int64_t size : shape) text += text_of(text.empty() ? "" : ", ", size);
  return "[" + text + "]";
}

std::vector<plan::Piece> choose_model_tensors(const config::ModelConfig& config, const std::vector<plan::Piece>& stored,
                                              const FileOf& file_of) {
  std::map<std::string, const plan::Piece*> by_name;
  for (const plan::Piece& piece : stored) by_name[piece.name] = &piece;
  std::vector<plan::Piece> chosen;
  for (const plan::ParameterSpec& spec : plan::parameter_specs(config)) {
    const auto found = by_name.find(kModelPrefix + spec.name);
    if (found == by_name.end())
      throw DataError("tensor '", spec.name, "', which config.json asks for, is missing in ", file_of(""));
    if (found->second->global_shape != spec.shape)
      throw DataError("tensor '", spec.name, "' in ", file_of(spec.name), " has shape ",
                      shape_text(found->second->global_shape), "; config.json asks for ", shape_text(spec.shape));
    chosen.push_back(*found->second);
    by_name.erase(found);
  }
  const std::string buffer = "rotary_emb.inv_freq";  // old releases stored what follows from the config
  for (const auto& [full_name, piece] : by_name) {
    const std::string name = full_name.substr(kModelPrefix.size());
    const bool is_buffer =
        name.size() >= buffer.size() && name.compare(name.size() - buffer.size(), buffer.size(), buffer) == 0;
    const bool is_tied = config.tie_word_embeddings && name == "lm_head.weight";
    if (!is_buffer && !is_tied)
      throw DataError("tensor '", name, "' in ", file_of(name), " does not belong to the model of config.json");
    log::warning("tensor '", name, "' in ", file_of(name), " follows from the rest of the model: left out");
  }
  return chosen;
}

std::uint64_t num_bytes_of(const plan::Piece& piece) {
  return static_cast<std::uint64_t>(plan::num_elements(piece.extent)) * size_bytes(piece.dtype);
}

}  // namespace osler::app
