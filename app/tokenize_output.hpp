// The output folder of `osler tokenize`: everything is written under a hidden folder inside it and moved into place
// when all of it is there; tokenize.json, written last, marks it complete. Local; `begin`, `publish` and `discard` on
// one rank only.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace osler::app {

class TokenizeOutput {
 public:
  enum class State { complete, empty };

  TokenizeOutput(std::string folder, std::vector<std::string> sources);

  /// complete: an earlier run with the same config and inputs has finished here. Otherwise removes what a killed run
  /// with the same config left. Changes nothing on disk beyond that. Throws DataError when anything else stands in the
  /// folder; of a finished run with another `config` (resolved INI) it shows what differs.
  State begin(const std::string& config_hash, const std::string& inputs_sha256, const std::string& config);
  /// Makes the hidden folder and one folder per source in it. Throws StorageError.
  void create(const std::string& config_hash);
  /// Where the shards of a source are written.
  std::string staging_of(const std::string& source) const;

  /// Tells the other ranks that this one cannot go on; they look between documents.
  void mark_failed() const noexcept;
  bool is_marked_failed() const noexcept;

  /// Moves the sources into place, writes the files beside them ({name: content}; is_beside_sources(name)) and, last,
  /// tokenize.json. Throws StorageError.
  void publish(const std::string& report, const std::map<std::string, std::string>& files = {}) const;
  void discard() const noexcept;

  /// Whether a file of that name may stand beside the sources: contamination_<benchmark>.jsonl.
  static bool is_beside_sources(const std::string& name);

 private:
  std::string report_path() const;
  void refuse_foreign_files(const std::string& config_hash) const;
  std::vector<std::string> beside_sources() const;

  std::string folder_;
  std::string partial_;
  std::vector<std::string> sources_;
};

}  // namespace osler::app
