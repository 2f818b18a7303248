// Names in a checkpoints folder: step_%09d is a checkpoint, .tmp-* an unfinished one, .bad-* one that failed to verify.
// Local; callers decide which rank calls.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace osler::checkpoint {

std::string step_name(std::int64_t step);
bool has_manifest(const std::string& directory);
/// Has a manifest, or what a checkpoint without one would leave: such a folder is damaged, not foreign.
bool looks_like_checkpoint(const std::string& directory);

struct Listing {
  std::vector<std::int64_t> steps;     ///< with a manifest, newest first
  std::vector<std::int64_t> remnants;  ///< without one: half deleted, or damaged
  std::vector<std::string> bad;        ///< names of .bad-*
  std::vector<std::string> temporary;  ///< names of .tmp-*
};
/// Empty when `root` does not exist; StorageError when it cannot be read.
Listing list_checkpoints(const std::string& root);

/// Manifest first, so that a half-deleted checkpoint is none. Failures are warnings: deleting is housekeeping.
void remove_checkpoint(const std::string& directory);
/// Keeps those of keep_steps and the `keep` newest others (all when 0); removes remnants older than the newest.
void rotate(const std::string& root, std::int64_t keep, const std::vector<std::int64_t>& keep_steps);
/// Renames a damaged checkpoint to .bad-<name> (a number is added when that exists). Returns the new path.
std::string set_aside(const std::string& root, std::int64_t step);
/// Makes the finished `temporary` visible as `final_name`, in exchange for one that stands there.
void publish_checkpoint(const std::string& temporary, const std::string& final_name);

}  // namespace osler::checkpoint
