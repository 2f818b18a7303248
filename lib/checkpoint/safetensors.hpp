// The safetensors format, read strictly and written front to back. What a file may claim is checked before anything is
// allocated for it: header size, UTF-8, duplicate keys, dtypes, overflow, overlaps, holes, the whole buffer covered.
// Source: huggingface/safetensors README, "Format". Local.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/dtype.hpp"
#include "checkpoint/file_writer.hpp"
#include "store/region_file.hpp"

namespace osler::checkpoint {

struct SafetensorsEntry {
  std::string dtype_name;      ///< as in the file, e.g. "BF16"
  std::optional<DType> dtype;  ///< none for types of the format that no model of ours has
  std::vector<std::int64_t> shape;
  std::uint64_t at = 0;  ///< first byte in the file
  std::uint64_t num_bytes = 0;
};

class SafetensorsFile {
 public:
  /// Reads and checks the header. Throws DataError naming the file, the tensor and what is wrong.
  explicit SafetensorsFile(const std::string& path);
  const std::string& path() const { return path_; }
  const std::map<std::string, SafetensorsEntry>& entries() const { return entries_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  std::string path_;
  std::map<std::string, SafetensorsEntry> entries_;
  std::map<std::string, std::string> metadata_;
};

/// Writes the header from known shapes, then takes the tensors one by one in the order of order().
class SafetensorsWriter {
 public:
  struct Tensor {
    std::string name;
    DType dtype = DType::fp32;
    std::vector<std::int64_t> shape;
  };
  /// Metadata is {"format": "pt"}, which transformers asks for. Throws StorageError.
  SafetensorsWriter(const std::string& path, std::vector<Tensor> tensors);
  /// Widest elements first, then by name, so that every tensor is aligned.
  const std::vector<Tensor>& order() const { return tensors_; }
  void append(std::span<const std::byte> bytes);  ///< of the next tensor; throws InternalError when the size is wrong
  void finish();                                  ///< durable on return

 private:
  std::vector<Tensor> tensors_;
  std::size_t next_ = 0;
  FileWriter file_;
};

std::uint64_t num_bytes_of(const SafetensorsWriter::Tensor& tensor);

}  // namespace osler::checkpoint
