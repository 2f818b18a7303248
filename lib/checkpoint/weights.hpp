// Model weights wherever they are: a Hugging Face directory (safetensors, sharded or single), one checkpoint directory,
// or a run directory (its newest checkpoint). Local but for find_weights().
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.hpp"
#include "comm/group.hpp"
#include "comm/sharded_tensor.hpp"

namespace osler::checkpoint {

/// Whether opening a checkpoint sums all its files. `sizes` is for callers whose ranks have shared that work already
/// (checkpoint::verify, find_newest).
enum class Verify { sums, sizes };

/// Where the weights lie that `path` stands for (see Weights), the same on every rank: rank 0 looks, and the others
/// wait until they see its files. With Verify::sums those of a checkpoint are checked, each rank a share. Open the
/// result with Verify::sizes. Throws as Weights does, the same on every rank. *Collective.*
std::string find_weights(comm::Group& group, const std::string& path, Verify verify);

class Weights {
 public:
  /// Throws DataError (Hugging Face side, or neither) or CheckpointError, naming the file and what is wrong. Of a run
  /// directory (or its checkpoints folder) the newest checkpoint is taken; a damaged one is named and the one before it
  /// is taken. Nothing is renamed.
  explicit Weights(const std::string& path, Verify verify = Verify::sums);
  const std::string& model_config() const;           ///< config.json text
  const std::string& directory() const;              ///< what was opened, after resolving a run directory
  std::vector<std::string> tokenizer_files() const;  ///< absolute paths; empty when there are none
  std::vector<std::string> files() const;            ///< paths of all that was and will be opened
  Provenance provenance() const;                     ///< none for a Hugging Face directory
  /// The weights as "model/NAME", whole, with the dtype in which they are stored (masters: the run's dtype); sorted.
  std::vector<plan::Piece> tensors() const;
  /// Pieces are named "model/NAME". Reads only what the pieces cover, converting to the target's dtype (round to
  /// nearest even). Throws when a tensor is missing or its shape differs, naming it.
  void load(const std::vector<comm::ShardedTensor>& into) const;

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

}  // namespace osler::checkpoint
