#include "checkpoint/hugging_face.hpp"

#include <filesystem>
#include <set>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/publish.hpp"
#include "config/strict_json.hpp"

namespace osler::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxJsonBytes = std::uint64_t{64} << 20;
constexpr const char* kCompanionFiles[] = {"tokenizer.model",         "tokenizer.json",     "tokenizer_config.json",
                                           "special_tokens_map.json", "added_tokens.json",  "chat_template.jinja",
                                           "chat_template.json",      "tokenizer.model.v1", "tokenizer.model.v2",
                                           "tokenizer.model.v3",      "tekken.json",        "generation_config.json"};

bool exists(const std::string& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

/// weight_map: tensor -> file name, both checked for form.
std::map<std::string, std::string> weight_map_of(const std::string& path) {
  const nlohmann::json json = config::parse_strict_json(read_file(path, kMaxJsonBytes), path);
  if (!json.is_object() || !json.contains("weight_map") || !json["weight_map"].is_object())
    throw DataError(path, " has no 'weight_map'");
  std::map<std::string, std::string> weight_map;
  for (const auto& [name, value] : json["weight_map"].items()) {
    const std::string file = value.is_string() ? value.get<std::string>() : "";
    const bool plain =
        !file.empty() && file.front() != '.' && file.find_first_of(std::string("/\\\0", 3)) == std::string::npos;
    if (!plain || fs::path(file).extension() != ".safetensors")
      throw DataError(path, ": '", name, "' lies in '", file, "': not the name of a safetensors file beside the index");
    weight_map[name] = file;
  }
  if (weight_map.empty()) throw DataError(path, ": 'weight_map' is empty");
  return weight_map;
}

bool holds_weights(DType dtype) {
  return dtype == DType::bf16 || dtype == DType::fp16 || dtype == DType::fp32 || dtype == DType::fp64;
}

std::string joined(const std::set<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

}  // namespace

bool is_hugging_face_directory(const std::string& path) {
  if (!exists(path + "/config.json")) return false;
  std::error_code error;
  for (fs::directory_iterator entry(path, error), end; !error && entry != end; entry.increment(error)) {
    const std::string extension = entry->path().extension().string();
    if (extension == ".safetensors" || extension == ".bin" || entry->path().filename() == kIndexFile) return true;
  }
  return false;
}

HuggingFaceModel::HuggingFaceModel(const std::string& directory) : directory_(directory) {
  if (!exists(directory + "/config.json"))
    throw DataError("'", directory, "' is not a Hugging Face model directory: it has no config.json");
  config_ = read_file(directory + "/config.json", kMaxJsonBytes);
  // transformers, too, takes the single file when both are there.
  const std::string index_path = directory + "/" + kIndexFile;
  if (exists(directory + "/" + kSingleFile))
    add_file(kSingleFile);
  else if (exists(index_path))
    read_index(index_path);
  else
    throw DataError(
        "'", directory, "' has neither ", kSingleFile, " nor ", kIndexFile,
        ": only safetensors are read (pickled .bin weights run code; convert them with transformers first)");
}

void HuggingFaceModel::add_file(const std::string& file_name) {
  const SafetensorsFile file(directory_ + "/" + file_name);
  for (const auto& [name, entry] : file.entries()) {
    const auto [place, is_new] = tensors_.try_emplace(name, Place{file_name, entry});
    if (!is_new)
      throw DataError("tensor '", name, "' is in both ", place->second.file, " and ", file_name, " of '", directory_,
                      "'");
  }
}

void HuggingFaceModel::read_index(const std::string& index_path) {
  const std::map<std::string, std::string> weight_map = weight_map_of(index_path);
  std::set<std::string> files;
  std::set<std::string> missing;
  for (const auto& [name, file] : weight_map) (exists(directory_ + "/" + file) ? files : missing).insert(file);
  if (!missing.empty())
    throw DataError(index_path, " names files that are not there: ", joined(missing), ": download them");
  for (const std::string& file : files) add_file(file);
  for (const auto& [name, file] : weight_map) {
    const auto found = tensors_.find(name);
    if (found == tensors_.end() || found->second.file != file)
      throw DataError(index_path, " says that tensor '", name, "' is in ", file, ", but it is ",
                      found == tensors_.end() ? "in none of the files" : "in " + found->second.file);
  }
  for (auto tensor = tensors_.begin(); tensor != tensors_.end();) {
    if (weight_map.count(tensor->first) > 0) {
      ++tensor;
      continue;
    }
    log::warning("tensor '", tensor->first, "' in ", directory_, "/", tensor->second.file,
                 " is not in the index: ignored");
    tensor = tensors_.erase(tensor);
  }
}

std::vector<std::string> HuggingFaceModel::companion_files() const {
  std::vector<std::string> paths;
  for (const char* name : kCompanionFiles)
    if (exists(directory_ + "/" + name))
      paths.push_back(fs::absolute(directory_ + "/" + name).lexically_normal().string());
  return paths;
}

std::vector<std::string> HuggingFaceModel::names() const {
  std::vector<std::string> names;
  for (const auto& [name, place] : tensors_) names.push_back(name);
  return names;
}

StoredPiece HuggingFaceModel::stored(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) throw DataError("'", directory_, "' has no tensor '", name, "'");
  const auto& [file, entry] = found->second;
  if (!entry.dtype || !holds_weights(*entry.dtype))
    throw DataError("tensor '", name, "' in ", directory_, "/", file, " has dtype ", entry.dtype_name,
                    ": only BF16, F16, F32 and F64 weights are supported");
  return {directory_ + "/" + file,
          entry.at,
          {name, *entry.dtype, entry.shape, std::vector<std::int64_t>(entry.shape.size(), 0), entry.shape}};
}

}  // namespace osler::checkpoint
