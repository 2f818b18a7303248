// Which of the stored tensors a model consists of, checked against what its config.json asks for.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "config/model_config.hpp"
#include "plan/piece.hpp"

namespace osler::app {

inline const std::string kModelPrefix = "model/";

/// Where a tensor lies, for messages; "" stands for the model as a whole.
using FileOf = std::function<std::string(const std::string& name)>;

/// The tensors of the model of `config`, in its order, found among `stored` ("model/NAME", whole). What follows from
/// the rest (rotary buffers of old releases, a tied head) is left out with a warning. Throws DataError naming tensor
/// and file when one is missing, has another shape, or does not belong there.
std::vector<plan::Piece> choose_model_tensors(const config::ModelConfig& config, const std::vector<plan::Piece>& stored,
                                              const FileOf& file_of);

std::string shape_text(const std::vector<std::int64_t>& shape);  ///< "[4096, 14336]"
std::uint64_t num_bytes_of(const plan::Piece& piece);

}  // namespace osler::app
