#include "checkpoint/manifest.hpp"

#include <algorithm>
#include <filesystem>
#include <initializer_list>
#include <limits>
#include <map>
#include <set>
#include <unordered_map>

#include "base/publish.hpp"
#include "base/sha256.hpp"
#include "config/strict_json.hpp"

namespace osler::checkpoint {
namespace {

using Json = nlohmann::json;

constexpr const char* kFormatName = "osler-checkpoint";
constexpr const char* kOwnSum = "manifest_sha256";
constexpr std::uint64_t kMaxManifestBytes = std::uint64_t{512} << 20;
constexpr std::size_t kMaxDims = 8;

// ---------------------------------------------------------------------------------------------------- writing
Json json_of(const RunState& state) {
  Json ledger = Json::object();
  for (const auto& [source, entry] : state.ledger)
    ledger[source] = {{"tokens", entry.tokens}, {"sequences", entry.sequences}, {"epoch", entry.epoch}};
  return {{"step", state.step},
          {"tokens", state.tokens},
          {"samples", state.samples},
          {"seed", state.seed},
          {"ledger", ledger},
          {"counters", Json(state.counters)},
          {"model_config", state.model_config},
          {"run_config", state.run_config},
          {"data_fingerprint", state.data_fingerprint},
          {"dtype", state.dtype},
          {"provenance",
           {{"pretraining_tokens", state.provenance.pretraining_tokens},
            {"fine_tuning_tokens", state.provenance.fine_tuning_tokens},
            {"neftune_alpha", state.provenance.neftune_alpha}}}};
}

Json json_of(const std::vector<FileEntry>& files) {
  Json list = Json::array();
  for (const FileEntry& file : files)
    list.push_back({{"name", file.name}, {"bytes", file.num_bytes}, {"sha256", file.sha256}});
  return list;
}

Json json_of(const std::vector<TensorEntry>& tensors) {
  Json list = Json::array();
  for (const TensorEntry& tensor : tensors) {
    Json pieces = Json::array();
    for (const PieceEntry& piece : tensor.pieces)
      pieces.push_back({{"file", piece.file},
                        {"dataset", piece.dataset},
                        {"at", piece.at},
                        {"offset", piece.offset},
                        {"extent", piece.extent}});
    list.push_back({{"name", tensor.name},
                    {"dtype", std::string(name_of(tensor.dtype))},
                    {"shape", tensor.shape},
                    {"pieces", pieces}});
  }
  return list;
}

/// Sorted keys, no spaces: the same value gives the same text, so that a sum of it can be checked after parsing. Bytes
/// that are no UTF-8 (a path in the config) are replaced rather than failing a save.
std::string canonical(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// ---------------------------------------------------------------------------------------------------- reading
/// An object being read: every key must be asked for, none may be left over.
class Fields {
 public:
  Fields(const Json& json, std::string where) : json_(json), where_(std::move(where)) {
    if (!json.is_object()) throw CheckpointError(where_, " is not an object");
  }
  const Json& at(const char* key) {
    const auto found = json_.find(key);
    if (found == json_.end()) throw CheckpointError(where_, " lacks '", key, "'");
    ++num_read_;
    return *found;
  }
  std::string text(const char* key) {
    const Json& value = at(key);
    if (!value.is_string()) throw CheckpointError(where_, ": '", key, "' is not a string");
    return value.get<std::string>();
  }
  std::uint64_t count(const char* key, std::uint64_t most) { return count_of(at(key), key, most); }
  std::int64_t integer(const char* key) {
    return static_cast<std::int64_t>(count(key, std::numeric_limits<std::int64_t>::max()));
  }
  double not_negative(const char* key) {
    const Json& value = at(key);
    if (!value.is_number() || value.get<double>() < 0)
      throw CheckpointError(where_, ": '", key, "' is not a number from 0");
    return value.get<double>();
  }
  const Json& list(const char* key) {
    const Json& value = at(key);
    if (!value.is_array()) throw CheckpointError(where_, ": '", key, "' is not a list");
    return value;
  }
  std::vector<std::int64_t> sizes(const char* key) {
    std::vector<std::int64_t> values;
    for (const Json& value : list(key)) {
      if (values.size() == kMaxDims) throw CheckpointError(where_, ": '", key, "' has more than ", kMaxDims, " dims");
      values.push_back(static_cast<std::int64_t>(count_of(value, key, std::numeric_limits<std::int64_t>::max())));
    }
    return values;
  }
  void finish() const {
    if (num_read_ != json_.size()) throw CheckpointError(where_, " has keys that this format version does not know");
  }
  const std::string& where() const { return where_; }

 private:
  std::uint64_t count_of(const Json& value, const char* key, std::uint64_t most) const {
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() > most)
      throw CheckpointError(where_, ": '", key, "' is not a whole number from 0 to ", most);
    return value.get<std::uint64_t>();
  }

  const Json& json_;
  std::string where_;
  std::size_t num_read_ = 0;
};

Provenance provenance_from(const Json& json, const std::string& origin) {
  Fields fields(json, origin + " 'provenance'");
  const Provenance provenance{fields.integer("pretraining_tokens"), fields.integer("fine_tuning_tokens"),
                              fields.not_negative("neftune_alpha")};
  fields.finish();
  return provenance;
}

RunState state_from(const Json& json, std::uint64_t version, const std::string& origin) {
  Fields fields(json, origin + " 'state'");
  RunState state;
  state.step = fields.integer("step");
  state.tokens = fields.integer("tokens");
  state.samples = fields.integer("samples");
  state.seed = fields.count("seed", std::numeric_limits<std::uint64_t>::max());
  const Json& ledger = fields.at("ledger");
  if (!ledger.is_object()) throw CheckpointError(fields.where(), ": 'ledger' is not an object");
  for (const auto& [source, value] : ledger.items()) {
    Fields entry(value, text_of(origin, " ledger of '", source, "'"));
    state.ledger[source] = {entry.integer("tokens"), entry.integer("sequences"), entry.integer("epoch")};
    entry.finish();
  }
  const Json& counters = fields.at("counters");
  if (!counters.is_object()) throw CheckpointError(fields.where(), ": 'counters' is not an object");
  for (const auto& [name, value] : counters.items()) {
    if (!value.is_number_integer()) throw CheckpointError(fields.where(), ": counter '", name, "' is not an integer");
    state.counters[name] = value.get<std::int64_t>();
  }
  state.model_config = fields.text("model_config");
  state.run_config = fields.text("run_config");
  state.data_fingerprint = fields.text("data_fingerprint");
  state.dtype = fields.text("dtype");
  if (version > kOldestFormatVersion)
    state.provenance = provenance_from(fields.at("provenance"), origin);
  else
    state.provenance.pretraining_tokens = state.tokens;
  fields.finish();
  return state;
}

bool is_plain_name(const std::string& name) {
  return !name.empty() && name.front() != '.' && name.size() < 256 &&
         name.find_first_of(std::string("/\\\0", 3)) == std::string::npos;
}

std::vector<FileEntry> files_from(const Json& json, const std::string& origin) {
  std::vector<FileEntry> files;
  std::set<std::string> names;
  for (const Json& value : json) {
    Fields fields(value, text_of(origin, " file ", files.size()));
    FileEntry file{fields.text("name"), fields.count("bytes", std::uint64_t{1} << 60), fields.text("sha256")};
    fields.finish();
    const std::string folder = "tokenizer/";
    const bool in_folder = file.name.compare(0, folder.size(), folder) == 0;
    if (!is_plain_name(in_folder ? file.name.substr(folder.size()) : file.name) || file.name == kManifestName)
      throw CheckpointError(fields.where(), ": bad file name '", file.name, "'");
    if (file.sha256.size() != 64 || file.sha256.find_first_not_of("0123456789abcdef") != std::string::npos)
      throw CheckpointError(fields.where(), ": '", file.name, "' has no SHA-256");
    if (!names.insert(file.name).second) throw CheckpointError(fields.where(), ": '", file.name, "' is listed twice");
    files.push_back(std::move(file));
  }
  return files;
}

std::uint64_t checked_bytes(const std::vector<std::int64_t>& sizes, DType dtype, const std::string& where) {
  std::uint64_t bytes = size_bytes(dtype);
  for (const std::int64_t size : sizes)
    if (__builtin_mul_overflow(bytes, static_cast<std::uint64_t>(size), &bytes) || bytes > std::uint64_t{1} << 60)
      throw CheckpointError(where, " is too large to be true");
  return bytes;
}

TensorEntry tensor_from(const Json& json, const std::vector<FileEntry>& files, const std::string& where) {
  Fields fields(json, where);
  TensorEntry tensor;
  tensor.name = fields.text("name");
  const std::string named = text_of(where, " '", tensor.name, "'");
  try {
    tensor.dtype = dtype_from_name(fields.text("dtype"));
  } catch (const DataError& error) {
    throw CheckpointError(named, ": ", error.what());
  }
  tensor.shape = fields.sizes("shape");
  checked_bytes(tensor.shape, tensor.dtype, named);
  for (const Json& value : fields.list("pieces")) {
    Fields part(value, named + " piece");
    PieceEntry piece{part.count("file", files.empty() ? 0 : files.size() - 1), part.text("dataset"),
                     part.count("at", std::uint64_t{1} << 60), part.sizes("offset"), part.sizes("extent")};
    part.finish();
    if (files.empty() || piece.offset.size() != tensor.shape.size() || piece.extent.size() != tensor.shape.size())
      throw CheckpointError(named, ": a piece has another number of dims");
    for (std::size_t dim = 0; dim < tensor.shape.size(); ++dim)
      if (piece.offset[dim] > tensor.shape[dim] || piece.extent[dim] > tensor.shape[dim] - piece.offset[dim])
        throw CheckpointError(named, ": a piece reaches beyond the tensor");
    const std::uint64_t size = files[piece.file].num_bytes;
    if (piece.at > size || checked_bytes(piece.extent, tensor.dtype, named) > size - piece.at)
      throw CheckpointError(named, ": a piece reaches beyond the end of ", files[piece.file].name);
    tensor.pieces.push_back(std::move(piece));
  }
  fields.finish();
  return tensor;
}

std::vector<TensorEntry> tensors_from(const Json& json, const std::vector<FileEntry>& files,
                                      const std::string& origin) {
  std::vector<TensorEntry> tensors;
  for (const Json& value : json) {
    tensors.push_back(tensor_from(value, files, text_of(origin, " tensor ", tensors.size())));
    if (tensors.size() > 1 && !(tensors[tensors.size() - 2].name < tensors.back().name))
      throw CheckpointError(origin, ": tensors are not in order at '", tensors.back().name, "' (listed twice?)");
  }
  return tensors;
}

std::uint64_t volume(const std::vector<std::int64_t>& extent) {
  std::uint64_t count = 1;
  for (const std::int64_t size : extent) count *= static_cast<std::uint64_t>(size);
  return count;
}

bool overlap(const PieceEntry& a, const PieceEntry& b) {
  for (std::size_t dim = 0; dim < a.offset.size(); ++dim)
    if (a.offset[dim] >= b.offset[dim] + b.extent[dim] || b.offset[dim] >= a.offset[dim] + a.extent[dim]) return false;
  return true;
}

}  // namespace

void check_tiling(const TensorEntry& tensor) {
  std::vector<const PieceEntry*> pieces;
  std::uint64_t covered = 0;
  for (const PieceEntry& piece : tensor.pieces) {
    if (volume(piece.extent) == 0) continue;
    covered += volume(piece.extent);
    pieces.push_back(&piece);
  }
  std::sort(pieces.begin(), pieces.end(), [](const auto* a, const auto* b) { return a->offset < b->offset; });
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    for (std::size_t j = i + 1; j < pieces.size(); ++j) {
      const bool beyond = !tensor.shape.empty() && pieces[j]->offset[0] >= pieces[i]->offset[0] + pieces[i]->extent[0];
      if (beyond) break;  // sorted by the first dim: none of the rest can meet piece i
      if (overlap(*pieces[i], *pieces[j])) throw InternalError("'", tensor.name, "': two pieces overlap");
    }
  }
  if (covered != volume(tensor.shape))
    throw InternalError("'", tensor.name, "': its pieces hold ", covered, " of ", volume(tensor.shape), " elements");
}

std::string manifest_text(const Manifest& manifest) {
  Json json = {{"format", kFormatName},
               {"version", kFormatVersion},
               {"created", manifest.created},
               {"world_size", manifest.world_size},
               {"state", json_of(manifest.state)},
               {"files", json_of(manifest.files)},
               {"tensors", json_of(manifest.tensors)}};
  // What is summed is what a reader will parse: after the replacement of bytes that are no UTF-8.
  const std::string text = canonical(json);
  json = Json::parse(text);
  json[kOwnSum] = sha256_hex(text);
  return json.dump(1) + "\n";
}

Manifest parse_manifest(const std::string& text, const std::string& origin) {
  Json json;
  try {
    json = config::parse_strict_json(text, origin);
  } catch (const DataError& error) {
    throw CheckpointError(error.what());
  }
  Fields fields(json, origin);
  if (fields.text("format") != kFormatName) throw CheckpointError(origin, " is not a checkpoint's manifest");
  const std::uint64_t version = fields.count("version", 1'000'000);
  const std::string sum = fields.text(kOwnSum);
  Json rest = json;
  rest.erase(kOwnSum);
  if (sha256_hex(canonical(rest)) != sum)
    throw CheckpointError(origin, " is damaged or was edited: its own sum does not match");
  if (version < kOldestFormatVersion || version > kFormatVersion)
    throw UnknownFormat(origin, " has format version ", version, ", this program reads ", kOldestFormatVersion, " to ",
                        kFormatVersion, ": use the release that wrote it");
  Manifest manifest;
  manifest.created = fields.text("created");
  manifest.world_size = fields.integer("world_size");
  manifest.state = state_from(fields.at("state"), version, origin);
  manifest.files = files_from(fields.list("files"), origin);
  manifest.tensors = tensors_from(fields.list("tensors"), manifest.files, origin);
  fields.finish();
  for (const TensorEntry& tensor : manifest.tensors) {
    try {
      check_tiling(tensor);
    } catch (const InternalError& error) {
      throw CheckpointError(origin, ": ", error.what());
    }
  }
  return manifest;
}

Manifest read_manifest(const std::string& directory) {
  const std::string path = directory + "/" + kManifestName;
  if (!std::filesystem::exists(path))
    throw CheckpointError("'", directory, "' is not a checkpoint: it has no ", kManifestName);
  return parse_manifest(read_file(path, kMaxManifestBytes), path);
}

std::string part_text(const std::vector<FileEntry>& files, const std::vector<TensorEntry>& tensors) {
  return canonical({{"files", json_of(files)}, {"tensors", json_of(tensors)}});
}

void add_part(Manifest& manifest, const std::string& part) {
  const Json json = Json::parse(part);
  const std::size_t first_file = manifest.files.size();
  const std::vector<FileEntry> files = files_from(json.at("files"), "part");
  manifest.files.insert(manifest.files.end(), files.begin(), files.end());
  std::unordered_map<std::string, std::size_t> index;
  for (std::size_t i = 0; i < manifest.tensors.size(); ++i) index[manifest.tensors[i].name] = i;
  for (const Json& value : json.at("tensors")) {
    TensorEntry tensor = tensor_from(value, files, "part");
    for (PieceEntry& piece : tensor.pieces) piece.file += first_file;
    const auto [place, is_new] = index.try_emplace(tensor.name, manifest.tensors.size());
    if (is_new) {
      manifest.tensors.push_back(std::move(tensor));
      continue;
    }
    TensorEntry& known = manifest.tensors[place->second];
    OSLER_CHECK(known.shape == tensor.shape && known.dtype == tensor.dtype, "ranks disagree on '", tensor.name, "'");
    known.pieces.insert(known.pieces.end(), tensor.pieces.begin(), tensor.pieces.end());
  }
}

}  // namespace osler::checkpoint
