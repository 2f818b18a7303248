#include "checkpoint/weights.hpp"

#include <filesystem>
#include <optional>
#include <set>

#include "base/error.hpp"
#include "base/log.hpp"
#include "checkpoint/directory.hpp"
#include "checkpoint/hugging_face.hpp"

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

/// The newest checkpoint under `root` that verifies; warns about those that do not.
std::pair<std::string, Reader> open_newest(const std::string& root, Verify verify) {
  const Listing listing = list_checkpoints(root);
  for (const std::int64_t step : listing.steps) {
    const std::string directory = root + "/" + step_name(step);
    try {
      return {directory, open_checkpoint(directory, verify)};
    } catch (const CheckpointError& error) {
      log::warning(error.what(), "; trying the one before it");
    }
  }
  throw CheckpointError("no usable checkpoint in '", root, "'");
}

bool holds_checkpoints(const std::string& root) {
  const Listing listing = list_checkpoints(root);
  return !listing.steps.empty() || !listing.remnants.empty() || !listing.bad.empty();
}

}  // namespace

struct Weights::Impl {
  std::string directory;
  std::string config;
  std::optional<Reader> reader;
  std::optional<HuggingFaceModel> hugging_face;
};

Weights::Weights(const std::string& path, Verify verify) {
  auto impl = std::make_shared<Impl>();
  impl->directory = path;
  std::error_code error;
  if (!fs::is_directory(path, error))
    throw DataError("'", path, "' is no directory: a Hugging Face model, a checkpoint or a run is wanted");
  if (looks_like_checkpoint(path)) {
    impl->reader = open_checkpoint(path, verify);
  } else if (holds_checkpoints(path + "/checkpoints") || holds_checkpoints(path)) {
    const std::string root = holds_checkpoints(path + "/checkpoints") ? path + "/checkpoints" : path;
    auto [directory, reader] = open_newest(root, verify);
    impl->directory = directory;
    impl->reader = std::move(reader);
  } else if (fs::exists(path + "/config.json", error)) {
    impl->hugging_face.emplace(path);
  } else {
    throw DataError("'", path,
                    "' is neither a Hugging Face model (config.json), nor a checkpoint (manifest.json), nor a run with "
                    "checkpoints/");
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
