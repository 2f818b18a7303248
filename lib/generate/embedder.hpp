// Texts as vectors: the mean of a model's last hidden states.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <vector>

#include "model/model.hpp"

namespace osler::generate {

/// Mean over a text's tokens of the last hidden states (after the final norm), summed in fp32 (fp64 models: fp64), one
/// row of hidden_size per text. Texts are not empty and are ids with BOS if wanted; of a text longer than the model's
/// positions the first tokens count. Batches are filled up to `batch_tokens` rows. tp ranks are given the same texts
/// and all get the rows; ep ranks have texts of their own, maybe none. *Collective over tp and ep.*
std::vector<std::vector<float>> embed(model::Model& model, const std::vector<std::vector<int>>& texts,
                                      std::int64_t batch_tokens, c10::Device device);

}  // namespace osler::generate
