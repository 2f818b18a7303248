#include "checkpoint/shard_files.hpp"

#include <algorithm>
#include <filesystem>
#include <map>

#include "base/clock.hpp"
#include "base/publish.hpp"
#include "checkpoint/file_writer.hpp"
#include "store/hdf5_file.hpp"
#include "store/region_file.hpp"

namespace osler::checkpoint {
namespace {

std::string shard_name(std::int64_t rank, std::size_t part) {
  std::string digits = std::to_string(rank);
  if (digits.size() < 5) digits.insert(0, 5 - digits.size(), '0');
  return text_of("rank_", digits, part == 0 ? "" : text_of("_", part), ".h5");
}

std::uint64_t bytes_of(const plan::Piece& piece) {
  return static_cast<std::uint64_t>(plan::num_elements(piece.extent)) * size_bytes(piece.dtype);
}

/// A flat range cuts one tensor into several pieces; the second and later ones get a number after the published name.
std::string dataset_name(const std::string& name, std::size_t repeat) {
  return repeat == 0 ? name : text_of(name, "#", repeat);
}

struct NamedPiece {
  std::size_t index = 0;
  std::string dataset;
};

store::Image declare_image(const ShardPlan& plan, const std::vector<plan::Piece>& pieces,
                           const std::vector<NamedPiece>& chosen) {
  store::Image image;
  for (const NamedPiece& named : chosen) {
    const plan::Piece& piece = pieces[named.index];
    image.declare(
        named.dataset, piece.dtype, piece.extent,
        {{"global_shape", piece.global_shape}, {"offset", piece.offset}, {"dtype", std::string(name_of(piece.dtype))}});
  }
  image.set_attributes("", {{"format", std::string("osler-checkpoint")},
                            {"format_version", kFormatVersion},
                            {"rank", plan.rank},
                            {"world_size", plan.world_size},
                            {"step", plan.step}});
  image.seal();
  return image;
}

/// Fills, writes and forgets one dataset after the other, in the order in which they lie in the file.
FileEntry write_image(const std::string& directory, const std::string& name, store::Image& image,
                      const std::map<std::string, std::size_t>& index_of, const FillPiece& fill) {
  FileWriter file(directory + "/" + name);
  std::uint64_t done = 0;
  for (const auto& place : image.placements()) {
    if (place.num_bytes == 0) continue;
    fill(index_of.at(place.name), image.bytes_of(place.name));
    const std::uint64_t end = place.offset + place.num_bytes;
    file.write(image.bytes().subspan(done, end - done));
    image.release(done, end);
    done = end;
  }
  file.write(image.bytes().subspan(done));
  const std::uint64_t num_bytes = file.num_bytes();
  return {name, num_bytes, file.finish()};
}

void record(WrittenShard& shard, std::map<std::string, std::size_t>& tensor_index, const plan::Piece& piece,
            PieceEntry entry) {
  const auto [place, is_new] = tensor_index.try_emplace(piece.name, shard.tensors.size());
  if (is_new) shard.tensors.push_back({piece.name, piece.dtype, piece.global_shape, {}});
  shard.tensors[place->second].pieces.push_back(std::move(entry));
}

}  // namespace

WrittenShard write_shard_files(const ShardPlan& plan, const std::vector<plan::Piece>& pieces, const FillPiece& fill) {
  WrittenShard shard;
  std::map<std::string, std::size_t> repeats;
  std::map<std::string, std::size_t> tensor_index;
  for (std::size_t next = 0, part = 0; next < pieces.size(); ++part) {
    std::vector<NamedPiece> chosen;
    std::map<std::string, std::size_t> index_of;
    for (std::uint64_t total = 0; next < pieces.size(); ++next) {
      total += bytes_of(pieces[next]);
      if (!chosen.empty() && total > plan.max_file_bytes) break;
      chosen.push_back({next, dataset_name(pieces[next].name, repeats[pieces[next].name]++)});
      index_of[chosen.back().dataset] = next;
    }
    store::Image image = declare_image(plan, pieces, chosen);
    std::map<std::string, std::uint64_t> offset_of;
    for (const auto& place : image.placements()) offset_of[place.name] = place.offset;
    shard.files.push_back(write_image(plan.directory, shard_name(plan.rank, part), image, index_of, fill));
    for (const NamedPiece& named : chosen) {
      const plan::Piece& piece = pieces[named.index];
      record(shard, tensor_index, piece,
             {part, named.dataset, offset_of.at(named.dataset), piece.offset, piece.extent});
    }
  }
  return shard;
}

FileEntry write_index_file(const std::string& directory, const Manifest& manifest) {
  store::Image image;
  for (const TensorEntry& tensor : manifest.tensors) {
    std::vector<store::VirtualPiece> pieces;
    for (const PieceEntry& piece : tensor.pieces)
      if (plan::num_elements(piece.extent) > 0)
        pieces.push_back({manifest.files[piece.file].name, piece.dataset, piece.offset, piece.extent});
    image.declare_virtual(tensor.name, tensor.dtype, tensor.shape, pieces);
  }
  image.set_attributes("", {{"format", std::string("osler-checkpoint-index")},
                            {"format_version", kFormatVersion},
                            {"step", manifest.state.step}});
  image.declare_text("meta/model_config", manifest.state.model_config);
  image.declare_text("meta/run_config", manifest.state.run_config);
  image.seal();
  const std::string sum = write_file_synced(directory + "/" + kIndexName, image.bytes());
  return {kIndexName, image.bytes().size(), sum};
}

std::vector<FileEntry> copy_tokenizer_files(const std::string& directory, const std::vector<std::string>& paths) {
  std::vector<FileEntry> entries;
  if (paths.empty()) return entries;
  const std::string folder = directory + "/tokenizer";
  make_directories(folder);
  for (const std::string& path : paths) {
    const std::filesystem::path source(path);
    // A SentencePiece model may have any name; inside a checkpoint it has the published one.
    const std::string name = source.extension() == ".model" ? "tokenizer.model" : source.filename().string();
    const store::RegionFile file(path);
    FileWriter copy(folder + "/" + name);
    std::vector<std::byte> block(std::size_t{1} << 20);
    for (std::uint64_t at = 0; at < file.size(); at += block.size()) {
      const std::span<std::byte> part(block.data(), std::min<std::uint64_t>(block.size(), file.size() - at));
      file.read(at, part);
      copy.write(part);
    }
    entries.push_back({"tokenizer/" + name, file.size(), copy.finish()});
  }
  sync_directory(folder);
  return entries;
}

void write_manifest(const std::string& directory, Manifest manifest) {
  std::sort(manifest.tensors.begin(), manifest.tensors.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  for (const TensorEntry& tensor : manifest.tensors) check_tiling(tensor);
  manifest.created = utc_timestamp();
  sync_directory(directory);
  publish_file(directory + "/" + kManifestName, manifest_text(manifest));
}

}  // namespace osler::checkpoint
