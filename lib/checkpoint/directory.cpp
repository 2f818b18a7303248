#include "checkpoint/directory.hpp"

#include <fcntl.h>
#include <stdio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/publish.hpp"
#include "checkpoint/manifest.hpp"

namespace osler::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kStepDigits = 9;
const std::string kStepPrefix = "step_";

bool parse_step(const std::string& name, std::int64_t& step) {
  const std::size_t digits = name.size() - std::min(name.size(), kStepPrefix.size());
  if (name.compare(0, kStepPrefix.size(), kStepPrefix) != 0 || digits < kStepDigits || digits > 18) return false;
  if (name.find_first_not_of("0123456789", kStepPrefix.size()) != std::string::npos) return false;
  step = std::stoll(name.substr(kStepPrefix.size()));
  return step_name(step) == name;
}

}  // namespace

std::string step_name(std::int64_t step) {
  std::string digits = std::to_string(step);
  if (digits.size() < kStepDigits) digits.insert(0, kStepDigits - digits.size(), '0');
  return kStepPrefix + digits;
}

bool has_manifest(const std::string& directory) {
  std::error_code error;
  return fs::is_regular_file(directory + "/" + kManifestName, error);
}

bool looks_like_checkpoint(const std::string& directory) {
  std::error_code error;
  return has_manifest(directory) || fs::exists(directory + "/rank_00000.h5", error) ||
         fs::exists(directory + "/" + kIndexName, error);
}

Listing list_checkpoints(const std::string& root) {
  Listing listing;
  std::error_code error;
  fs::directory_iterator entries(root, error);
  if (error == std::errc::no_such_file_or_directory) return listing;
  if (error) throw StorageError("cannot list '", root, "': ", error.message());
  for (; entries != fs::directory_iterator(); entries.increment(error)) {
    const std::string name = entries->path().filename().string();
    std::int64_t step = 0;
    if (name.compare(0, 5, ".tmp-") == 0) listing.temporary.push_back(name);
    if (name.compare(0, 5, ".bad-") == 0) listing.bad.push_back(name);
    if (parse_step(name, step))
      (has_manifest(entries->path().string()) ? listing.steps : listing.remnants).push_back(step);
  }
  if (error) throw StorageError("cannot list '", root, "': ", error.message());
  std::sort(listing.steps.rbegin(), listing.steps.rend());
  std::sort(listing.remnants.rbegin(), listing.remnants.rend());
  return listing;
}

void remove_checkpoint(const std::string& directory) {
  std::error_code error;
  const bool had_manifest = fs::remove(directory + "/" + kManifestName, error);
  try {
    if (had_manifest) sync_directory(directory);  // no crash brings the manifest back without its files
  } catch (const StorageError& failure) {
    log::warning(failure.what());
  }
  fs::remove_all(directory, error);
  if (error) log::warning("cannot remove '", directory, "': ", error.message(), "; remove it by hand");
}

void rotate(const std::string& root, std::int64_t keep, const std::vector<std::int64_t>& keep_steps) {
  const Listing listing = list_checkpoints(root);
  if (listing.steps.empty()) return;
  for (const std::int64_t step : listing.remnants)
    if (step < listing.steps.front()) remove_checkpoint(root + "/" + step_name(step));
  if (keep <= 0) return;
  for (const std::int64_t step : listing.steps) {
    if (std::find(keep_steps.begin(), keep_steps.end(), step) != keep_steps.end()) continue;
    if (--keep < 0) remove_checkpoint(root + "/" + step_name(step));
  }
}

std::string set_aside(const std::string& root, std::int64_t step) {
  const std::string base = root + "/.bad-" + step_name(step);
  std::string target = base;
  std::error_code error;
  for (int i = 2; fs::exists(target, error); ++i) target = base + "-" + std::to_string(i);
  publish_directory(root + "/" + step_name(step), target);
  return target;
}

void publish_checkpoint(const std::string& temporary, const std::string& final_name) {
  std::error_code error;
  if (!fs::exists(final_name, error)) return publish_directory(temporary, final_name);
  if (::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, final_name.c_str(), RENAME_EXCHANGE) == 0) {
    sync_directory(fs::path(final_name).parent_path().string());
    remove_checkpoint(temporary);
    return;
  }
  if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP)
    throw StorageError("cannot put '", temporary, "' in the place of '", final_name, "': ", std::strerror(errno));
  // A file system without exchange (NFS): for a moment this step is missing and only the one before it is there.
  const std::string old = temporary + "-replaced";
  publish_directory(final_name, old);
  publish_directory(temporary, final_name);
  remove_checkpoint(old);
}

}  // namespace osler::checkpoint
