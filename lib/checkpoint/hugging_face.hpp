// A Hugging Face model directory: config.json, safetensors (one file, or shards with an index), tokenizer files. Local.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "checkpoint/safetensors.hpp"
#include "checkpoint/stored_piece.hpp"

namespace osler::checkpoint {

inline constexpr const char* kSingleFile = "model.safetensors";
inline constexpr const char* kIndexFile = "model.safetensors.index.json";

/// True when `path` is a folder with a config.json and weights of any kind in it.
bool is_hugging_face_directory(const std::string& path);

class HuggingFaceModel {
 public:
  /// Opens every header and checks the index against them. Throws DataError naming the file and the tensor.
  explicit HuggingFaceModel(const std::string& directory);
  const std::string& directory() const { return directory_; }
  const std::string& config() const { return config_; }  ///< config.json, byte for byte
  /// Tokenizer and generation files that travel with the weights, absolute paths.
  std::vector<std::string> companion_files() const;

  std::vector<std::string> names() const;  ///< sorted
  bool contains(const std::string& name) const { return tensors_.count(name) > 0; }
  /// The whole tensor in its file. Throws DataError naming it when absent or of a dtype that no weights have.
  StoredPiece stored(const std::string& name) const;

 private:
  void add_file(const std::string& file_name);
  void read_index(const std::string& index_path);

  struct Place {
    std::string file;  ///< name in the directory
    SafetensorsEntry entry;
  };
  std::string directory_;
  std::string config_;
  std::map<std::string, Place> tensors_;
};

}  // namespace osler::checkpoint
