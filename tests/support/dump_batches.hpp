// What `osler finetune` feeds its model, step by step, for a reference that computes the same by other means.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>

namespace osler::test {

/// `spec`: source (list of NAME:WEIGHT:PATH split in three), sequence_length, global_batch, too_long, seed, steps,
/// alpha, hidden_size. Writes out/step_<n>_{tokens,labels,positions,segments,noise,length}.bin as raw float64, whole
/// global batches in order.
void dump_batches(const nlohmann::json& spec, const std::filesystem::path& folder);

}  // namespace osler::test
