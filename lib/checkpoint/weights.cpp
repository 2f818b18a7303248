#include "checkpoint/weights.hpp"

#include <filesystem>
#include <optional>
#include <set>

#include "base/error.hpp"
#include "base/log.hpp"
#include "checkpoint/directory.hpp"
#include "checkpoint/hugging_face.hpp"
#include "checkpoint/verify.hpp"
#include "comm/rank_0_view.hpp"

namespace osler::checkpoint {
namespace {

namespace fs = std::filesystem;

const std::string kModelPrefix = "model/";
const std::string kMasterPrefix = "optim/master/";

std::optional<std::string> after_prefix(const std::string& name, const std::string& prefix) {
  if (name.compare(0, prefix.size(), prefix) != 0) return std::nullopt;
  return name.substr(prefix.size());
}

Reader open_checkpoint(const std::string& directory, Verify verify) {
  Reader reader(directory);
  if (verify == Verify::sums) reader.verify();
  return reader;
}

constexpr const char* kTryingOlder = "; trying the one before it";

[[noreturn]] void refuse_all(const std::string& path) {
  throw CheckpointError("no usable checkpoint in '", path, "'");
}

/// The first checkpoint that is sound; warns about those before it that are not.
std::pair<std::string, Reader> open_newest(const std::string& path, const std::vector<std::string>& newest_first,
                                           Verify verify) {
  for (const std::string& directory : newest_first) {
    try {
      return {directory, open_checkpoint(directory, verify)};
    } catch (const CheckpointError& error) {
      log::warning(error.what(), kTryingOlder);
    }
  }
  refuse_all(path);
}

bool holds_checkpoints(const std::string& root) {
  const Listing listing = list_checkpoints(root);
  return !listing.steps.empty() || !listing.remnants.empty() || !listing.bad.empty();
}

enum class Kind : std::int64_t { hugging_face, checkpoint, run };

struct Place {
  Kind kind = Kind::hugging_face;
  std::vector<std::string> directories;  ///< of a run its checkpoints, newest first; else the one
};

/// Throws DataError when there is nothing of the kind.
Place look_at(const std::string& path) {
  std::error_code error;
  if (!fs::is_directory(path, error))
    throw DataError("'", path, "' is no directory: a Hugging Face model, a checkpoint or a run is wanted");
  if (looks_like_checkpoint(path)) return {Kind::checkpoint, {path}};
  for (const std::string& root : {path + "/checkpoints", path}) {
    if (!holds_checkpoints(root)) continue;
    Place place{Kind::run, {}};
    for (const std::int64_t step : list_checkpoints(root).steps)
      place.directories.push_back(root + "/" + step_name(step));
    return place;
  }
  if (fs::exists(path + "/config.json", error)) return {Kind::hugging_face, {path}};
  throw DataError("'", path,
                  "' is neither a Hugging Face model (config.json), nor a checkpoint (manifest.json), nor a run with "
                  "checkpoints/");
}

/// The first checkpoint whose sums are right. *Collective.*
std::string find_verified(comm::Group& group, const std::string& path, const std::vector<std::string>& directories,
                          Kind kind) {
  for (const std::string& directory : directories) {
    const std::string damage = shared_verdict(group, directory);
    if (damage.empty()) return directory;
    const std::string what = text_of("checkpoint '", directory, "' is damaged: ", damage);
    if (kind == Kind::checkpoint) throw CheckpointError(what);
    if (group.rank() == 0) log::warning(what, kTryingOlder);
  }
  refuse_all(path);
}

}  // namespace

std::string find_weights(comm::Group& group, const std::string& path, Verify verify) {
  const auto has_sums = [verify](Kind kind) { return verify == Verify::sums && kind != Kind::hugging_face; };
  Place place;
  std::string directory;
  std::vector<std::string> files;
  comm::agree_after(group, [&] {
    if (group.rank() != 0) return;
    place = look_at(path);
    if (has_sums(place.kind)) return;
    const Weights weights(path, Verify::sizes);
    directory = weights.directory();
    files = weights.files();
  });
  const auto kind =
      static_cast<Kind>(group.all_reduce_value(static_cast<std::int64_t>(place.kind), comm::ReduceOp::max));
  if (has_sums(kind)) return find_verified(group, path, comm::broadcast_list(group, place.directories), kind);
  comm::wait_for_files(group, files);
  return group.broadcast_bytes(directory, 0);
}

struct Weights::Impl {
  std::string directory;
  std::string config;
  std::optional<Reader> reader;
  std::optional<HuggingFaceModel> hugging_face;
};

Weights::Weights(const std::string& path, Verify verify) {
  auto impl = std::make_shared<Impl>();
  impl->directory = path;
  const Place place = look_at(path);
  if (place.kind == Kind::checkpoint) impl->reader = open_checkpoint(path, verify);
  if (place.kind == Kind::hugging_face) impl->hugging_face.emplace(path);
  if (place.kind == Kind::run) {
    auto [directory, reader] = open_newest(path, place.directories, verify);
    impl->directory = directory;
    impl->reader = std::move(reader);
  }
  impl->config = impl->reader ? impl->reader->state().model_config : impl->hugging_face->config();
  impl_ = std::move(impl);
}

const std::string& Weights::model_config() const {
  return impl_->config;
}
const std::string& Weights::directory() const {
  return impl_->directory;
}
Provenance Weights::provenance() const {
  return impl_->reader ? impl_->reader->state().provenance : Provenance();
}

std::vector<std::string> Weights::tokenizer_files() const {
  return impl_->reader ? impl_->reader->tokenizer_files() : impl_->hugging_face->companion_files();
}

std::vector<std::string> Weights::files() const {
  if (impl_->reader) return impl_->reader->files();
  std::set<std::string> files{impl_->directory + "/config.json"};
  for (const std::string& name : impl_->hugging_face->names()) files.insert(impl_->hugging_face->stored(name).path);
  for (const std::string& file : impl_->hugging_face->companion_files()) files.insert(file);
  return {files.begin(), files.end()};
}

std::vector<plan::Piece> Weights::tensors() const {
  std::vector<plan::Piece> tensors;
  if (impl_->hugging_face) {
    for (const std::string& name : impl_->hugging_face->names())
      tensors.push_back(impl_->hugging_face->stored(name).piece);
    for (plan::Piece& tensor : tensors) tensor.name = kModelPrefix + tensor.name;
    return tensors;
  }
  std::set<std::string> stored;
  for (plan::Piece& tensor : impl_->reader->tensors()) {
    if (!after_prefix(tensor.name, kModelPrefix)) continue;
    stored.insert(tensor.name);
    tensors.push_back(std::move(tensor));
  }
  for (plan::Piece& tensor : impl_->reader->tensors()) {
    const auto name = after_prefix(tensor.name, kMasterPrefix);
    if (!name || stored.count(kModelPrefix + *name) > 0) continue;
    tensor.name = kModelPrefix + *name;
    tensor.dtype = dtype_from_name(impl_->reader->state().dtype);
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

void Weights::load(const std::vector<comm::ShardedTensor>& into) const {
  if (impl_->reader) return impl_->reader->load(into);
  OpenFiles files;
  for (const comm::ShardedTensor& target : into) {
    const auto name = after_prefix(target.piece.name, kModelPrefix);
    if (!name) throw DataError("'", impl_->directory, "' is a Hugging Face model: it has no '", target.piece.name, "'");
    load_piece({impl_->hugging_face->stored(*name)}, target, files);
  }
}

}  // namespace osler::checkpoint
