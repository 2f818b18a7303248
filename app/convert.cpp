// osler convert: a Hugging Face model directory becomes a checkpoint, or the other way round, bit for bit. Tensors pass
// one by one: memory is bounded by the largest of them. One process works; under mpirun the others wait.
#include <ATen/ATen.h>
#include <fcntl.h>
#include <malloc.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>

#include "base/log.hpp"
#include "base/output_place.hpp"
#include "base/publish.hpp"
#include "checkpoint/hugging_face.hpp"
#include "checkpoint/safetensors.hpp"
#include "checkpoint/shard_files.hpp"
#include "checkpoint/weights.hpp"
#include "comm/torch_dtype.hpp"
#include "config/model_config.hpp"
#include "config/parser.hpp"
#include "model_tensors.hpp"
#include "verbs.hpp"

namespace osler::app {
namespace {

namespace fs = std::filesystem;

constexpr double kSpareSpace = 1.02;  // of the tensors' bytes: headers, index, tokenizer
constexpr const char* kLock = "/.lock";

/// A lock on a file in a folder that is being written, for the life of this object; a killed process holds none.
class FolderLock {
 public:
  FolderLock(const std::string& folder, int flags)
      : file_(::open((folder + kLock).c_str(), flags | O_CLOEXEC, kFileMode)) {
    is_held_ = file_ >= 0 && ::flock(file_, LOCK_EX | LOCK_NB) == 0;
  }
  ~FolderLock() {
    if (file_ >= 0) ::close(file_);
  }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;
  bool is_held() const { return is_held_; }

 private:
  int file_;
  bool is_held_ = false;
};

/// What killed conversions to the same output left: `prefix`NUMBER with a lock file that nobody holds.
void remove_abandoned(const fs::path& parent, const std::string& prefix) {
  std::error_code error;
  for (fs::directory_iterator entry(parent, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (!name.starts_with(prefix) || name.find_first_not_of("0123456789", prefix.size()) != std::string::npos) continue;
    std::error_code failure;
    {
      const FolderLock lock(entry->path().string(), O_RDWR);
      if (!lock.is_held()) continue;
      log::info("removing '", entry->path().string(), "', which a killed conversion left");
      fs::remove_all(entry->path(), failure);
    }
    fs::remove_all(entry->path(), failure);  // NFS keeps an open file: here nothing is open any more
    if (failure) log::warning("cannot remove it: ", failure.message());
  }
}

/// The output's name, after what can be known before any work: nothing stands there, and its folder can be written.
fs::path checked_output(const std::string& path) {
  fs::path final_name = fs::absolute(path).lexically_normal();
  if (!final_name.has_filename()) final_name = final_name.parent_path();
  std::error_code error;
  if (fs::exists(final_name, error) && !(fs::is_directory(final_name, error) && fs::is_empty(final_name, error)))
    throw ConfigError("convert.output '", path,
                      "' exists already and is not an empty folder: choose another or remove it");
  require_writable_place("convert.output", final_name.parent_path().string());
  return final_name;
}

/// Made beside the output under a temporary name, which it gets only when whole; removed when something fails.
class OutputFolder {
 public:
  explicit OutputFolder(const std::string& path) {
    const fs::path final_name = checked_output(path);
    final_name_ = final_name.string();
    const std::string prefix = ".tmp-" + final_name.filename().string() + "-";
    remove_abandoned(final_name.parent_path(), prefix);
    temporary_ = text_of((final_name.parent_path() / prefix).string(), std::random_device{}());
    make_directories(temporary_);
    lock_.emplace(temporary_, O_RDWR | O_CREAT);
  }
  ~OutputFolder() {
    std::error_code error;
    lock_.reset();
    if (!published_) fs::remove_all(temporary_, error);
  }
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;

  const std::string& path() const { return temporary_; }
  void require_space(std::uint64_t num_bytes) const {
    const auto wanted = static_cast<std::uint64_t>(kSpareSpace * static_cast<double>(num_bytes));
    const std::uint64_t available = free_bytes(temporary_);
    if (available < wanted)
      throw StorageError("not enough space for '", final_name_, "': ", wanted, " bytes wanted, ", available, " free");
  }
  void publish() {
    std::error_code error;
    fs::remove(temporary_ + kLock, error);
    lock_.reset();
    sync_directory(temporary_);
    publish_directory(temporary_, final_name_);
    published_ = true;
  }

 private:
  std::string final_name_;
  std::string temporary_;
  std::optional<FolderLock> lock_;  ///< not held where the file system has no locks: then nobody removes it either
  bool published_ = false;
};

/// comm/host_memory.cpp lets a training step keep and reuse its memory, in pieces of 64 MiB; here tensors pass once.
void hand_freed_tensors_back() {
#ifdef __GLIBC__
  mallopt(M_MMAP_MAX, 65536);
  for (const int what : {M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD}) mallopt(what, 128 << 10);  // as shipped
#endif
}

/// A whole tensor over memory of ours, ready to be loaded into.
comm::ShardedTensor target_over(const plan::Piece& piece, std::span<std::byte> bytes) {
  const auto options = at::TensorOptions().dtype(comm::scalar_type_of(piece.dtype));
  return {piece, at::from_blob(bytes.data(), piece.extent, options)};
}

// ------------------------------------------------------------------------------- Hugging Face -> checkpoint
void import_model(const config::ConvertOptions& options) {
  const checkpoint::HuggingFaceModel model(options.input);
  const config::ModelConfig config = config::parse_model_config(model.config(), options.input + "/config.json");
  std::vector<plan::Piece> stored;
  for (const std::string& name : model.names()) {
    stored.push_back(model.stored(name).piece);
    stored.back().name = kModelPrefix + name;
  }
  std::vector<plan::Piece> pieces = choose_model_tensors(config, stored, [&](const std::string& name) {
    return name.empty() ? "'" + options.input + "'" : model.stored(name).path;
  });
  std::uint64_t num_bytes = 0;
  for (plan::Piece& piece : pieces) {
    if (!options.dtype.empty()) piece.dtype = dtype_from_name(options.dtype);
    num_bytes += num_bytes_of(piece);
  }
  OutputFolder output(options.output);
  output.require_space(num_bytes);

  checkpoint::OpenFiles files;
  const auto fill = [&](std::size_t index, std::span<std::byte> out) {
    const std::string name = pieces[index].name.substr(kModelPrefix.size());
    checkpoint::load_piece({model.stored(name)}, target_over(pieces[index], out), files);
  };
  checkpoint::WrittenShard shard = checkpoint::write_shard_files({.directory = output.path()}, pieces, fill);
  checkpoint::Manifest manifest;
  manifest.state.model_config = model.config();
  manifest.state.dtype = std::string(name_of(pieces.front().dtype));
  manifest.files = std::move(shard.files);
  manifest.tensors = std::move(shard.tensors);
  manifest.files.push_back(checkpoint::write_index_file(output.path(), manifest));
  for (checkpoint::FileEntry& file : checkpoint::copy_tokenizer_files(output.path(), model.companion_files()))
    manifest.files.push_back(std::move(file));
  checkpoint::write_manifest(output.path(), std::move(manifest));
  output.publish();
  log::info("wrote checkpoint '", options.output, "': ", pieces.size(), " tensors, ", num_bytes, " bytes");
}

// ------------------------------------------------------------------------------- checkpoint -> Hugging Face
std::string published_dtype(DType dtype) {
  switch (dtype) {
    case DType::bf16:
      return "bfloat16";
    case DType::fp16:
      return "float16";
    case DType::fp32:
      return "float32";
    case DType::fp64:
      return "float64";
    default:
      throw DataError("weights of dtype ", name_of(dtype), " cannot be exported");
  }
}

/// The config as it was, unless the weights now have another dtype than it says.
std::string exported_config(const std::string& text, const config::ModelConfig& config,
                            const std::vector<plan::Piece>& pieces) {
  const bool uniform =
      std::all_of(pieces.begin(), pieces.end(), [&](const plan::Piece& p) { return p.dtype == pieces.front().dtype; });
  const std::string dtype = published_dtype(pieces.front().dtype);
  if (!uniform || config.stored_dtype == dtype) return text;
  auto json = nlohmann::ordered_json::parse(text);
  const bool has_new_key = json.contains("dtype");
  if (has_new_key) json["dtype"] = dtype;
  if (!has_new_key || json.contains("torch_dtype")) json["torch_dtype"] = dtype;
  return json.dump(2) + "\n";
}

using Shard = std::vector<checkpoint::SafetensorsWriter::Tensor>;

/// In the model's order, as many tensors to a file as fit.
std::vector<Shard> cut_shards(const std::vector<plan::Piece>& pieces, std::uint64_t shard_bytes) {
  std::vector<Shard> shards;
  std::uint64_t used = 0;
  for (const plan::Piece& piece : pieces) {
    if (shards.empty() || used + num_bytes_of(piece) > shard_bytes) {
      shards.emplace_back();
      used = 0;
    }
    used += num_bytes_of(piece);
    shards.back().push_back({piece.name.substr(kModelPrefix.size()), piece.dtype, piece.global_shape});
  }
  return shards;
}

std::string shard_file_name(std::size_t index, std::size_t count) {
  if (count == 1) return checkpoint::kSingleFile;
  const auto five = [](std::size_t number) {
    const std::string digits = std::to_string(number);
    return std::string(digits.size() < 5 ? 5 - digits.size() : 0, '0') + digits;
  };
  return text_of("model-", five(index + 1), "-of-", five(count), ".safetensors");
}

void write_shard(const checkpoint::Weights& weights, const std::string& path, const Shard& shard) {
  checkpoint::SafetensorsWriter writer(path, shard);
  std::vector<std::byte> buffer;
  for (const auto& tensor : writer.order()) {
    const std::vector<std::int64_t> zeros(tensor.shape.size(), 0);
    const plan::Piece whole{kModelPrefix + tensor.name, tensor.dtype, tensor.shape, zeros, tensor.shape};
    buffer.resize(checkpoint::num_bytes_of(tensor));
    weights.load({target_over(whole, buffer)});
    writer.append(buffer);
  }
  writer.finish();
}

void copy_file(const std::string& from, const std::string& folder) {
  const std::string text = read_file(from);
  write_file_synced(folder + "/" + fs::path(from).filename().string(), std::as_bytes(std::span(text)));
}

void export_model(const config::ConvertOptions& options) {
  const checkpoint::Weights weights(options.input);
  const config::ModelConfig config =
      config::parse_model_config(weights.model_config(), weights.directory() + " config");
  std::vector<plan::Piece> pieces = choose_model_tensors(
      config, weights.tensors(), [&](const std::string&) { return "'" + weights.directory() + "'"; });
  std::uint64_t num_bytes = 0;
  for (plan::Piece& piece : pieces) {
    if (!options.dtype.empty()) piece.dtype = dtype_from_name(options.dtype);
    num_bytes += num_bytes_of(piece);
  }
  OutputFolder output(options.output);
  output.require_space(num_bytes);

  const std::vector<Shard> shards = cut_shards(pieces, static_cast<std::uint64_t>(options.shard_bytes));
  nlohmann::json weight_map = nlohmann::json::object();
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string name = shard_file_name(i, shards.size());
    write_shard(weights, output.path() + "/" + name, shards[i]);
    for (const auto& tensor : shards[i]) weight_map[tensor.name] = name;
  }
  if (shards.size() > 1) {
    const nlohmann::json index = {{"metadata", {{"total_size", num_bytes}}}, {"weight_map", weight_map}};
    publish_file(output.path() + "/" + checkpoint::kIndexFile, index.dump(2) + "\n");
  }
  publish_file(output.path() + "/config.json", exported_config(weights.model_config(), config, pieces));
  for (const std::string& file : weights.tokenizer_files()) copy_file(file, output.path());
  output.publish();
  log::info("wrote Hugging Face model '", options.output, "': ", pieces.size(), " tensors in ", shards.size(),
            " files, ", num_bytes, " bytes");
}

}  // namespace

ExitCode convert(comm::World& world, const Arguments& arguments) {
  config::ConvertOptions options;
  config::FilesOptions files;
  config::Parser parser("convert",
                        "Turns a Hugging Face model directory into a checkpoint, or a checkpoint (or a run) into a "
                        "Hugging Face directory.");
  parser.add(options);
  parser.add(files);
  config::Action action{};
  comm::agree_after(world.host(), [&] { action = parser.parse(arguments); });
  set_file_privacy(files.privacy);
  const bool leads = world.host().rank() == 0;
  if (action == config::Action::help || action == config::Action::print_config) {
    if (leads) std::cout << (action == config::Action::help ? parser.help() : parser.print_config()) << std::flush;
    return ExitCode::done;
  }
  comm::agree_after(world.host(), [&] {
    if (!leads) return;
    if (!fs::is_directory(options.input)) throw DataError("convert.input '", options.input, "' is not a folder");
    checked_output(options.output);
    if (action == config::Action::dry_run) {
      const checkpoint::Weights weights(options.input);
      std::cout << weights.directory() << ": " << weights.tensors().size() << " tensors can be converted\n";
      return;
    }
    hand_freed_tensors_back();
    checkpoint::is_hugging_face_directory(options.input) ? import_model(options) : export_model(options);
  });
  return ExitCode::done;
}

}  // namespace osler::app
