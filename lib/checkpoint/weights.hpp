// Model weights wherever they are: a Hugging Face directory (safetensors, sharded or single), one checkpoint directory,
// or a run directory (its newest checkpoint). Local.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "comm/sharded_tensor.hpp"

namespace osler::checkpoint {

class Weights {
 public:
  /// Throws DataError (Hugging Face side) or CheckpointError, naming the file and what is wrong.
  explicit Weights(const std::string& path);
  const std::string& model_config() const;             ///< config.json text
  const std::string& directory() const;                ///< what was opened, after resolving a run directory
  std::vector<std::string> tokenizer_files() const;    ///< absolute paths; empty when there are none
  std::int64_t tokens_seen() const;                    ///< 0 for a Hugging Face directory
  /// Pieces are named "model/NAME". Reads only what the pieces cover, converting to the target's dtype (round to
  /// nearest even). Throws when a tensor is missing or its shape differs, naming it.
  void load(const std::vector<comm::ShardedTensor>& into) const;

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

}  // namespace osler::checkpoint
