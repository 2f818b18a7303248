#include "checkpoint/safetensors.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/error.hpp"
#include "config/strict_json.hpp"

namespace osler::checkpoint {
namespace {

using Json = nlohmann::json;

constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;
constexpr std::uint64_t kLengthBytes = 8;
constexpr std::size_t kMaxDims = 8;
constexpr int kMaxHeaderDepth = 3;

struct KnownType {
  const char* name;
  std::uint64_t num_bytes;
  std::optional<DType> dtype;
};

constexpr KnownType kKnownTypes[] = {{"BF16", 2, DType::bf16}, {"F16", 2, DType::fp16}, {"F32", 4, DType::fp32},
                                     {"F64", 8, DType::fp64},  {"U8", 1, DType::u8},    {"U16", 2, DType::u16},
                                     {"U32", 4, DType::u32},   {"U64", 8, DType::u64},  {"I64", 8, DType::i64},
                                     {"I32", 4, {}},           {"I16", 2, {}},          {"I8", 1, {}},
                                     {"BOOL", 1, {}},          {"F8_E5M2", 1, {}},      {"F8_E4M3", 1, {}},
                                     {"F8_E8M0", 1, {}},       {"C64", 8, {}}};

const KnownType& known_type(const std::string& name, const std::string& where) {
  for (const KnownType& type : kKnownTypes)
    if (name == type.name) return type;
  throw DataError(where, " has the unknown dtype '", name, "'");
}

const char* type_name_of(DType dtype) {
  for (const KnownType& type : kKnownTypes)
    if (type.dtype == dtype) return type.name;
  throw InternalError("safetensors has no name for dtype ", name_of(dtype));
}

std::uint64_t whole_number(const Json& json, const std::string& where) {
  constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (!json.is_number_unsigned() || json.get<std::uint64_t>() > kMost)
    throw DataError(where, " is not a whole number of 63 bits");
  return json.get<std::uint64_t>();
}

/// `at` is relative to the byte buffer here; the caller moves it.
SafetensorsEntry entry_from(const Json& json, const std::string& where) {
  if (!json.is_object()) throw DataError(where, " is not an object");
  for (const auto& [key, value] : json.items())
    if (key != "dtype" && key != "shape" && key != "data_offsets")
      throw DataError(where, " has the unknown key '", key, "'");
  if (json.size() != 3) throw DataError(where, " lacks one of dtype, shape, data_offsets");
  if (!json["dtype"].is_string()) throw DataError(where, ": dtype is not a string");
  if (!json["shape"].is_array() || json["shape"].size() > kMaxDims)
    throw DataError(where, ": shape is not a list of at most ", kMaxDims);
  if (!json["data_offsets"].is_array() || json["data_offsets"].size() != 2)
    throw DataError(where, ": data_offsets is not a pair");

  SafetensorsEntry entry;
  entry.dtype_name = json["dtype"].get<std::string>();
  const KnownType& type = known_type(entry.dtype_name, where);
  entry.dtype = type.dtype;
  std::uint64_t claimed = type.num_bytes;
  for (const Json& size : json["shape"]) {
    const std::uint64_t extent = whole_number(size, where + ": a dim");
    if (__builtin_mul_overflow(claimed, extent, &claimed)) throw DataError(where, ": the shape overflows 64 bits");
    entry.shape.push_back(static_cast<std::int64_t>(extent));
  }
  const std::uint64_t begin = whole_number(json["data_offsets"][0], where + ": an offset");
  const std::uint64_t end = whole_number(json["data_offsets"][1], where + ": an offset");
  if (begin > end) throw DataError(where, ": its data ends at ", end, ", before it begins at ", begin);
  if (end - begin != claimed)
    throw DataError(where, ": shape and dtype need ", claimed, " bytes, its data_offsets hold ", end - begin);
  entry.at = begin;
  entry.num_bytes = claimed;
  return entry;
}

/// Sorted by place, the tensors must cover the buffer from end to end: no overlap, no hole, nothing behind.
void check_cover(const std::map<std::string, SafetensorsEntry>& entries, std::uint64_t buffer_bytes,
                 const std::string& path) {
  std::vector<std::pair<const std::string*, const SafetensorsEntry*>> order;
  for (const auto& [name, entry] : entries) order.emplace_back(&name, &entry);
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return std::pair(a.second->at, a.second->num_bytes) < std::pair(b.second->at, b.second->num_bytes);
  });
  std::uint64_t end = 0;
  for (const auto& [name, entry] : order) {
    if (entry->at != end)
      throw DataError(path, ": tensor '", *name, "' begins at byte ", entry->at, ", the one before it ends at ", end,
                      entry->at < end ? ": they overlap" : ": there is a hole");
    end += entry->num_bytes;
    if (end > buffer_bytes)
      throw DataError(path, ": tensor '", *name, "' reaches beyond the end of the file: truncated download?");
  }
  if (end != buffer_bytes) throw DataError(path, ": ", buffer_bytes - end, " bytes at the end belong to no tensor");
}

Json read_header(const store::RegionFile& file, std::uint64_t& header_bytes) {
  const std::string& path = file.path();
  if (file.size() < kLengthBytes)
    throw DataError(path, " is too short for a safetensors file: ", file.size(), " bytes");
  file.read(0, std::as_writable_bytes(std::span(&header_bytes, 1)));
  if (header_bytes > kMaxHeaderBytes)
    throw DataError(path, ": header of ", header_bytes, " bytes; the format allows ", kMaxHeaderBytes,
                    ": not a safetensors file?");
  if (header_bytes > file.size() - kLengthBytes)
    throw DataError(path, ": header of ", header_bytes, " bytes in a file of ", file.size(), ": truncated download?");
  std::string text(header_bytes, '\0');
  file.read(kLengthBytes, std::as_writable_bytes(std::span(text)));
  if (text.empty() || text.front() != '{')
    throw DataError(path, ": the header does not begin with '{': not a safetensors file?");
  return config::parse_strict_json(text, path + " header", kMaxHeaderDepth);
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::string& path) : path_(path) {
  const store::RegionFile file(path);
  std::uint64_t header_bytes = 0;
  const Json header = read_header(file, header_bytes);
  for (const auto& [name, value] : header.items()) {
    const std::string where = text_of(path, ": tensor '", name, "'");
    if (name == "__metadata__") {
      if (!value.is_object()) throw DataError(path, ": __metadata__ is not an object");
      for (const auto& [key, text] : value.items()) {
        if (!text.is_string()) throw DataError(path, ": __metadata__ '", key, "' is not a string");
        metadata_[key] = text.get<std::string>();
      }
      continue;
    }
    if (name.empty()) throw DataError(where, " has no name");
    entries_.emplace(name, entry_from(value, where));
  }
  check_cover(entries_, file.size() - kLengthBytes - header_bytes, path);
  for (auto& [name, entry] : entries_) entry.at += kLengthBytes + header_bytes;
}

std::uint64_t num_bytes_of(const SafetensorsWriter::Tensor& tensor) {
  std::uint64_t bytes = size_bytes(tensor.dtype);
  for (const std::int64_t size : tensor.shape) bytes *= static_cast<std::uint64_t>(size);
  return bytes;
}

SafetensorsWriter::SafetensorsWriter(const std::string& path, std::vector<Tensor> tensors)
    : tensors_(std::move(tensors)), file_(path) {
  std::sort(tensors_.begin(), tensors_.end(), [](const Tensor& a, const Tensor& b) {
    return std::pair(-static_cast<int>(size_bytes(a.dtype)), a.name) <
           std::pair(-static_cast<int>(size_bytes(b.dtype)), b.name);
  });
  nlohmann::ordered_json header = {{"__metadata__", {{"format", "pt"}}}};
  std::uint64_t at = 0;
  for (const Tensor& tensor : tensors_) {
    const std::uint64_t end = at + num_bytes_of(tensor);
    header[tensor.name] = {{"dtype", type_name_of(tensor.dtype)}, {"shape", tensor.shape}, {"data_offsets", {at, end}}};
    at = end;
  }
  std::string text = header.dump();
  text.append((kLengthBytes - text.size() % kLengthBytes) % kLengthBytes, ' ');
  const std::uint64_t length = text.size();
  file_.write(std::as_bytes(std::span(&length, 1)));
  file_.write(std::as_bytes(std::span(text)));
}

void SafetensorsWriter::append(std::span<const std::byte> bytes) {
  OSLER_CHECK(next_ < tensors_.size() && bytes.size() == num_bytes_of(tensors_[next_]), "tensor ", next_);
  file_.write(bytes);
  ++next_;
}

void SafetensorsWriter::finish() {
  OSLER_CHECK(next_ == tensors_.size(), next_, " of ", tensors_.size(), " tensors written");
  file_.finish();
}

}  // namespace osler::checkpoint
