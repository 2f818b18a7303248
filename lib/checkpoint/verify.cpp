#include "checkpoint/verify.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <numeric>
#include <sstream>

#include "base/log.hpp"
#include "base/sha256.hpp"
#include "checkpoint/checkpoint.hpp"
#include "checkpoint/directory.hpp"
#include "comm/rank_0_view.hpp"

namespace osler::checkpoint {
namespace {

namespace fs = std::filesystem;

/// Empty when file and entry agree.
std::string damage_of(const std::string& directory, const FileEntry& file, bool with_sum) {
  const std::string path = directory + "/" + file.name;
  std::error_code error;
  const std::uint64_t size = fs::file_size(path, error);
  if (error == std::errc::permission_denied) throw StorageError("cannot read '", path, "': ", error.message());
  if (error) return text_of("'", path, "' is missing or no file (", error.message(), ")");
  if (size != file.num_bytes) return text_of("'", path, "' has ", size, " bytes instead of ", file.num_bytes);
  if (!with_sum) return "";
  if (::access(path.c_str(), R_OK) != 0 && errno == EACCES)
    throw StorageError("cannot read '", path, "': check its permissions");
  try {
    if (sha256_hex_of_file(path) != file.sha256)
      return text_of("'", path, "' has another SHA-256 than its manifest says");
  } catch (const StorageError& failure) {
    return failure.what();  // a disk that cannot give the bytes back
  }
  return "";
}

/// Rank 0's reading of a manifest, sent to all: no other rank trusts its own view of the folder.
Manifest share_manifest(comm::Group& group, const std::string& directory, std::string& damage) {
  Manifest manifest;
  std::string text;
  comm::agree_after(group, [&] {
    if (group.rank() != 0) return;
    try {
      manifest = read_manifest(directory);
      check_sizes(directory, manifest);
      text = manifest_text(manifest);
    } catch (const UnknownFormat&) {
      throw;  // not damaged: the user has another release
    } catch (const CheckpointError& error) {
      damage = error.what();
    }
  });
  damage = group.broadcast_bytes(damage, 0);
  text = group.broadcast_bytes(text, 0);
  if (damage.empty() && group.rank() != 0) manifest = parse_manifest(text, directory);
  return manifest;
}

std::string set_aside_or_stay(const std::string& root, std::int64_t step) {
  try {
    return "; set aside as '" + set_aside(root, step) + "'";
  } catch (const StorageError& error) {
    return text_of("; it stays where it is (", error.what(), ")");
  }
}

}  // namespace

std::string shared_verdict(comm::Group& group, const std::string& directory) {
  std::string damage;
  const Manifest manifest = share_manifest(group, directory, damage);
  if (!damage.empty()) return damage;
  std::vector<std::string> paths{directory + "/" + kManifestName};
  for (const FileEntry& file : manifest.files) paths.push_back(directory + "/" + file.name);
  comm::wait_for_files(group, paths);
  std::string mine;
  comm::agree_after(group, [&] {
    const std::vector<std::string> found = find_damage(directory, manifest, group.rank(), group.size());
    if (!found.empty()) mine = found.front();
  });
  for (const std::string& line : group.all_gather_bytes(mine))
    if (!line.empty()) return line;
  return "";
}

void check_sizes(const std::string& directory, const Manifest& manifest) {
  for (const FileEntry& file : manifest.files) {
    const std::string damage = damage_of(directory, file, false);
    if (!damage.empty()) throw CheckpointError("checkpoint '", directory, "' is damaged: ", damage);
  }
}

std::vector<std::string> find_damage(const std::string& directory, const Manifest& manifest, int share,
                                     int num_shares) {
  // Largest first, each to the rank with the least so far: the same arithmetic on every rank.
  std::vector<std::size_t> order(manifest.files.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return manifest.files[a].num_bytes > manifest.files[b].num_bytes;
  });
  std::vector<std::uint64_t> load(static_cast<std::size_t>(num_shares), 0);
  std::vector<std::string> damage;
  for (const std::size_t i : order) {
    const auto least = std::min_element(load.begin(), load.end());
    *least += manifest.files[i].num_bytes + 1;
    if (least - load.begin() != share) continue;
    std::string line = damage_of(directory, manifest.files[i], true);
    if (!line.empty()) damage.push_back(std::move(line));
  }
  return damage;
}

void verify(comm::Group& group, const std::string& directory) {
  const std::string damage = shared_verdict(group, directory);
  if (!damage.empty()) throw CheckpointError("checkpoint '", directory, "' is damaged: ", damage);
}

std::optional<std::string> find_newest(comm::Group& group, const std::string& root) {
  std::string names;
  bool existed = false;
  comm::agree_after(group, [&] {
    if (group.rank() != 0) return;
    const Listing listing = list_checkpoints(root);
    for (const std::int64_t step : listing.steps) names += std::to_string(step) + " ";
    existed = !listing.steps.empty() || !listing.remnants.empty() || !listing.bad.empty();
  });
  std::istringstream steps(group.broadcast_bytes(names, 0));
  existed = group.all_reduce_value(std::int64_t{existed ? 1 : 0}, comm::ReduceOp::max) != 0;
  for (std::int64_t step = 0; steps >> step;) {
    const std::string directory = root + "/" + step_name(step);
    const std::string damage = shared_verdict(group, directory);
    if (damage.empty()) return directory;
    if (group.rank() == 0)
      log::warning("checkpoint '", directory, "' is damaged: ", damage, set_aside_or_stay(root, step),
                   "; trying the one before it");
  }
  if (existed)
    throw CheckpointError("no usable checkpoint in '", root,
                          "', though there were some (see the warnings and the .bad-* folders); "
                          "restore one, or move the folder away to start from the beginning");
  return std::nullopt;
}

}  // namespace osler::checkpoint
