// Whether a checkpoint belongs to the run that is about to go on from it. Local, pure.
#pragma once

#include <string>
#include <vector>

#include "checkpoint/checkpoint.hpp"

namespace osler::train {

enum class RouterLosses { off, on };
enum class ChangedData { refused, accepted };

/// This start, as far as it must be the run that saved the checkpoint.
struct Start {
  checkpoint::RunState state;  ///< run_config, model_config, data_fingerprint, dtype, seed
  RouterLosses router_losses = RouterLosses::off;
  ChangedData changed_data = ChangedData::refused;
  std::string tokenizer_difference;  ///< see tokenizer_difference()
};

/// What must not change within a run: the data and their order, the model, the tokenizer, the dtype, the seed,
/// NEFTune's alpha, and with router losses the micro-batch. Throws ConfigError that shows what differs and says what to
/// do. Other contents, sources or weights of the data may be accepted, not another batch, window or seed: those are
/// what steps are counted in. Returns what was accepted, a line each.
std::vector<std::string> require_same_run(const checkpoint::RunState& stored, const Start& start,
                                          const std::string& directory);

/// "tokenizer.model: sha256 0123... -> 4567..." for two lists of tokenizer files; "" when the SentencePiece models are
/// equal or one list has none. Throws StorageError.
std::string tokenizer_difference(const std::vector<std::string>& stored, const std::vector<std::string>& current);

/// "data.global_batch: 8 -> 16" for every key whose value differs between two resolved INI texts, in order of the
/// second; keys that only one has show as "(absent)".
std::vector<std::string> differences(const std::string& stored_ini, const std::string& current_ini);

/// The same for two config.json texts: "model hidden_size: 32 -> 64" for every key of the architecture; keys in which
/// savers of one model differ do not count. Throws DataError when one is not JSON.
std::vector<std::string> model_differences(const std::string& stored_config, const std::string& current_config);

}  // namespace osler::train
