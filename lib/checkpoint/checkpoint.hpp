// Sharded checkpoints that survive a kill at any instant: a directory of one HDF5 file per rank and a manifest.
// A checkpoint exists if and only if its manifest exists under the final name and every file's SHA-256 matches.
// Save: in-memory file image -> temporary directory -> write, fsync, re-stat -> manifest last -> rename -> fsync.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "comm/group.hpp"
#include "comm/sharded_tensor.hpp"

namespace osler::checkpoint {

struct LedgerEntry {
  std::int64_t tokens = 0;
  std::int64_t sequences = 0;
  std::int64_t epoch = 0;
};

/// What the weights have been through, all runs together: the column of the paper's tables that a model belongs to.
struct Provenance {
  std::int64_t pretraining_tokens = 0;
  std::int64_t fine_tuning_tokens = 0;  ///< windows, padding included
  double neftune_alpha = 0;             ///< of the last fine-tuning
  bool is_fine_tuned() const { return fine_tuning_tokens > 0; }
  bool operator==(const Provenance&) const = default;
};

/// Everything but tensors that a run needs to go on, and what says where it came from.
struct RunState {
  std::int64_t step = 0;
  std::int64_t tokens = 0;   ///< seen in this run, all sources
  std::int64_t samples = 0;  ///< sequences seen
  std::uint64_t seed = 0;
  std::map<std::string, LedgerEntry> ledger;  ///< by source
  std::map<std::string, std::int64_t>
      counters;                  ///< the trainer's own, by name: skipped steps, ... (stored and restored as they are)
  std::string model_config;      ///< config.json text
  std::string run_config;        ///< resolved INI
  std::string data_fingerprint;  ///< equal = same data, same order
  std::string dtype;             ///< of the weights in the run: "bf16", ...
  Provenance provenance;         ///< with this run's own part
};

struct SaveRequest {
  std::string root;  ///< <run>/checkpoints
  std::vector<comm::ShardedTensor>
      tensors;  ///< this rank's pieces; all primary ones tile each global shape exactly once
  RunState state;
  std::vector<std::string> tokenizer_files;   ///< copied into <checkpoint>/tokenizer/ byte for byte
  std::int64_t keep = 2;                      ///< newest checkpoints to keep; 0 = all
  std::vector<std::int64_t> keep_steps = {};  ///< kept besides those
};

/// Writes <root>/step_%09d and rotates older ones after the new one is durable. On failure all ranks agree, nothing
/// of the new one is left and the previous ones are untouched; throws StorageError on every rank. Returns the path.
/// *Collective.*
std::string save(comm::Group& group, const SaveRequest& request);

/// The newest checkpoint under `root` that verifies (hashes checked in parallel, each rank a share). A damaged one is
/// named, renamed aside to .bad-<name>, and the one before it is tried. nullopt when none ever existed; throws
/// CheckpointError when there were some and none is usable. *Collective.*
std::optional<std::string> find_newest(comm::Group& group, const std::string& root);

/// Every sum of one checkpoint directory, each rank a share of the files. Throws CheckpointError naming the damaged
/// file on every rank. *Collective.*
void verify(comm::Group& group, const std::string& directory);

/// One checkpoint directory, opened for reading. Local; construct after find_newest(), verify() or find_weights(): then
/// every rank can open its files.
class Reader {
 public:
  explicit Reader(const std::string& directory);  ///< throws CheckpointError naming what is wrong with the manifest
  const RunState& state() const;
  std::vector<plan::Piece> tensors() const;  ///< whole tensors: name, dtype, global shape
  bool contains(const std::string& name) const;
  /// Fills each tensor with its piece, from whatever pieces the files hold, converting dtype if it differs (to nearest
  /// even). "model/NAME" falls back to "optim/master/NAME". Does not go through libhdf5: the manifest knows the bytes.
  void load(const std::vector<comm::ShardedTensor>& into) const;
  std::vector<std::string> tokenizer_files() const;  ///< absolute paths
  std::vector<std::string> files() const;            ///< paths of the manifest and all that it lists
  void verify() const;                               ///< every sum; throws CheckpointError naming the file

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

}  // namespace osler::checkpoint
