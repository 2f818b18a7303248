// Whether a checkpoint belongs to the run that is about to go on from it. Local, pure.
#pragma once

#include <string>
#include <vector>

#include "checkpoint/checkpoint.hpp"

namespace osler::train {

enum class RouterLosses { off, on };

/// What must not change within a run: the data and their order, the model, the dtype, the seed, NEFTune's alpha, and
/// with router losses the micro-batch. Throws ConfigError that shows what differs and says what to do.
/// `expected.run_config`, `expected.model_config` and `router_losses` are this start's.
void require_same_run(const checkpoint::RunState& stored, const checkpoint::RunState& expected,
                      RouterLosses router_losses, const std::string& directory);

/// "data.global_batch: 8 -> 16" for every key whose value differs between two resolved INI texts, in order of the
/// second; keys that only one has show as "(absent)".
std::vector<std::string> differences(const std::string& stored_ini, const std::string& current_ini);

/// The same for two config.json texts: "model hidden_size: 32 -> 64" for every key of the architecture; keys in which
/// savers of one model differ do not count. Throws DataError when one is not JSON.
std::vector<std::string> model_differences(const std::string& stored_config, const std::string& current_config);

}  // namespace osler::train
