#include <filesystem>
#include <unordered_map>

#include "base/error.hpp"
#include "checkpoint/checkpoint.hpp"
#include "checkpoint/manifest.hpp"
#include "checkpoint/stored_piece.hpp"
#include "checkpoint/verify.hpp"

namespace osler::checkpoint {
namespace {

const std::string kModelPrefix = "model/";
const std::string kMasterPrefix = "optim/master/";

}  // namespace

struct Reader::Impl {
  std::string directory;
  Manifest manifest;
  std::unordered_map<std::string, std::size_t> index;

  /// "model/NAME" of a run that keeps masters only is its master: rounded on loading, it is the weight bit for bit.
  const TensorEntry* find(const std::string& name) const {
    auto found = index.find(name);
    if (found == index.end() && name.compare(0, kModelPrefix.size(), kModelPrefix) == 0)
      found = index.find(kMasterPrefix + name.substr(kModelPrefix.size()));
    return found == index.end() ? nullptr : &manifest.tensors[found->second];
  }

  std::vector<StoredPiece> stored(const TensorEntry& tensor) const {
    std::vector<StoredPiece> pieces;
    for (const PieceEntry& piece : tensor.pieces)
      pieces.push_back({directory + "/" + manifest.files[piece.file].name,
                        piece.at,
                        {tensor.name, tensor.dtype, tensor.shape, piece.offset, piece.extent}});
    return pieces;
  }
};

Reader::Reader(const std::string& directory) {
  auto impl = std::make_shared<Impl>();
  impl->directory = directory;
  impl->manifest = read_manifest(directory);
  check_sizes(directory, impl->manifest);
  for (std::size_t i = 0; i < impl->manifest.tensors.size(); ++i) impl->index[impl->manifest.tensors[i].name] = i;
  impl_ = std::move(impl);
}

const RunState& Reader::state() const {
  return impl_->manifest.state;
}

std::vector<plan::Piece> Reader::tensors() const {
  std::vector<plan::Piece> whole;
  for (const TensorEntry& tensor : impl_->manifest.tensors)
    whole.push_back(
        {tensor.name, tensor.dtype, tensor.shape, std::vector<std::int64_t>(tensor.shape.size(), 0), tensor.shape});
  return whole;
}

bool Reader::contains(const std::string& name) const {
  return impl_->find(name) != nullptr;
}

void Reader::load(const std::vector<comm::ShardedTensor>& into) const {
  OpenFiles files;
  for (const comm::ShardedTensor& target : into) {
    const TensorEntry* tensor = impl_->find(target.piece.name);
    if (tensor == nullptr) throw CheckpointError("'", impl_->directory, "' has no tensor '", target.piece.name, "'");
    if (target.piece.extent.empty() || plan::num_elements(target.piece.extent) > 0)
      load_piece(impl_->stored(*tensor), target, files);
  }
}

std::vector<std::string> Reader::tokenizer_files() const {
  std::vector<std::string> paths;
  for (const FileEntry& file : impl_->manifest.files)
    if (file.name.compare(0, 10, "tokenizer/") == 0)
      paths.push_back(std::filesystem::absolute(impl_->directory + "/" + file.name).lexically_normal().string());
  return paths;
}

std::vector<std::string> Reader::files() const {
  std::vector<std::string> paths{impl_->directory + "/" + kManifestName};
  for (const FileEntry& file : impl_->manifest.files) paths.push_back(impl_->directory + "/" + file.name);
  return paths;
}

void Reader::verify() const {
  const std::vector<std::string> damage = find_damage(impl_->directory, impl_->manifest, 0, 1);
  if (!damage.empty()) throw CheckpointError("checkpoint '", impl_->directory, "' is damaged: ", damage.front());
}

}  // namespace osler::checkpoint
