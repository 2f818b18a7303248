// The folder of one run: what stands where, and the two facts that outlive a process: what was asked for (config.ini,
// run.json) and that it is done. Local; the rank that calls the writing functions owns the folder.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "plan/mesh.hpp"

namespace osler::train {

class RunDirectory {
 public:
  explicit RunDirectory(std::string path);
  const std::string& path() const { return path_; }
  std::string metrics() const { return path_ + "/metrics.jsonl"; }
  std::string checkpoints() const { return path_ + "/checkpoints"; }
  std::string done() const { return path_ + "/done"; }
  bool is_done() const;
  /// Makes the folder and publishes config.ini and run.json. Throws StorageError.
  void describe(const std::string& resolved_ini, const std::string& run_json) const;
  /// Only at the true end of the work, after the last checkpoint. Throws StorageError.
  void mark_done(std::int64_t step) const;

 private:
  std::string path_;
};

/// Provenance: version, world size, layout, one host name per rank, start time.
std::string run_description(const std::string& program_version, const std::vector<std::string>& hosts,
                            const plan::Mesh& mesh, std::int64_t resumed_step);

/// This machine's name.
std::string host_name();

}  // namespace osler::train
