#include "data/token_shard.hpp"

#include <algorithm>
#include <cstring>
#include <span>

#include "base/error.hpp"
#include "base/seal.hpp"
#include "base/sha256.hpp"
#include "data/mapped_file.hpp"
#include "store/hdf5_file.hpp"

namespace osler::data {
namespace {

constexpr char kAdvice[] = "; make the shard again with 'osler tokenize'";

[[noreturn]] void refuse(const std::string& path, const std::string& what) {
  throw DataError("token shard ", path, ": ", what, kAdvice);
}

template <class T>
T attribute(const store::ReadFile& file, const std::string& name) {
  const auto found = file.attributes().find(name);
  if (found == file.attributes().end())
    refuse(file.path(), text_of("no attribute '", name, "', so it is not a token shard of ours"));
  if (!std::holds_alternative<T>(found->second))
    refuse(file.path(), text_of("attribute '", name, "' has a wrong type"));
  return std::get<T>(found->second);
}

ShardInfo read_info(const store::ReadFile& file) {
  const auto version = attribute<std::int64_t>(file, "format_version");
  if (version != kShardFormatVersion && version != kMaskedShardFormatVersion) {
    refuse(file.path(), text_of("format_version ", version, ", this build reads ", kShardFormatVersion, " and ",
                                kMaskedShardFormatVersion));
  }
  ShardInfo info;
  info.source = attribute<std::string>(file, "source");
  info.tokenizer_sha256 = attribute<std::string>(file, "tokenizer_sha256");
  info.content_sha256 = attribute<std::string>(file, "content_sha256");
  info.vocab_size = attribute<std::int64_t>(file, "vocab_size");
  info.bos_id = attribute<std::int64_t>(file, "bos_id");
  info.eos_id = attribute<std::int64_t>(file, "eos_id");
  info.num_documents = attribute<std::int64_t>(file, "num_documents");
  info.num_tokens = attribute<std::int64_t>(file, "num_tokens");
  if (version == kMaskedShardFormatVersion) {
    info.chat_template = attribute<std::string>(file, "template");
    info.num_supervised = attribute<std::int64_t>(file, "num_supervised");
    if (info.chat_template.empty()) refuse(file.path(), "attribute 'template' is empty");
  }
  if (file.attributes().contains("decontaminated_against"))
    info.decontaminated_against = attribute<std::string>(file, "decontaminated_against");
  if (file.attributes().contains("identifiers_masked"))
    info.identifiers_masked = attribute<std::int64_t>(file, "identifiers_masked") != 0;
  info.is_sealed = file.attributes().contains("sealed");
  const std::string prefix = "drop_";
  for (const auto& [name, value] : file.attributes()) {
    if (name.starts_with(prefix) && std::holds_alternative<std::int64_t>(value)) {
      info.dropped[name.substr(prefix.size())] = std::get<std::int64_t>(value);
    }
  }
  return info;
}

/// 1-D, of the length that the attributes say, inside the mapped file.
const std::byte* place_of(const store::ReadFile& file, const MappedFile& map, const std::string& name, DType dtype,
                          std::int64_t length) {
  if (!file.contains(name)) refuse(file.path(), text_of("no dataset '", name, "', so it is not a token shard of ours"));
  const store::DatasetInfo& info = file.dataset(name);
  if (info.dtype != dtype)
    refuse(file.path(), text_of("'", name, "' holds ", name_of(info.dtype), ", not ", name_of(dtype)));
  if (info.shape.size() != 1 || info.shape[0] != length) {
    refuse(file.path(), text_of("'", name, "' does not have the ", length, " elements that the attributes say"));
  }
  const std::uint64_t bytes = static_cast<std::uint64_t>(length) * size_bytes(dtype);
  if (info.file_offset > map.size() || bytes > map.size() - info.file_offset)
    refuse(file.path(), text_of("'", name, "' is cut off"));
  return map.data() + info.file_offset;
}

}  // namespace

struct TokenShard::Impl {
  std::string path;
  ShardInfo info;
  MappedFile map;
  const std::byte* tokens = nullptr;
  bool narrow = true;
  const std::uint64_t* offsets = nullptr;
  const std::uint8_t* mask = nullptr;
  std::vector<std::uint64_t> aligned_offsets;  // a copy, when the file does not align them

  explicit Impl(const std::string& shard_path) : path(shard_path), map(shard_path) {
    const store::ReadFile file(path);
    info = read_info(file);
    constexpr std::int64_t kMaxCount = std::int64_t{1} << 48;
    if (info.vocab_size < 1 || info.vocab_size > (std::int64_t{1} << 31) || info.num_documents < 0 ||
        info.num_documents > kMaxCount || info.num_tokens < 0 || info.num_tokens > kMaxCount) {
      refuse(path, "its counts make no sense");
    }
    if (info.bos_id < -1 || info.bos_id >= info.vocab_size || info.eos_id < -1 || info.eos_id >= info.vocab_size) {
      refuse(path, "bos_id or eos_id is outside the vocabulary");
    }
    if (info.is_sealed && !ends_with_seal({map.data(), map.size()}))
      refuse(path, "its last line, with the SHA-256 of the file, is cut off or damaged");
    narrow = info.vocab_size <= 65536;
    tokens = place_of(file, map, "tokens", narrow ? DType::u16 : DType::u32, info.num_tokens);
    place_offsets(place_of(file, map, "doc_offsets", DType::u64, info.num_documents + 1));
    if (!info.chat_template.empty())
      mask = reinterpret_cast<const std::uint8_t*>(place_of(file, map, "loss_mask", DType::u8, info.num_tokens));
  }

  void place_offsets(const std::byte* bytes) {
    const auto count = static_cast<std::size_t>(info.num_documents) + 1;
    if (reinterpret_cast<std::uintptr_t>(bytes) % alignof(std::uint64_t) == 0) {
      offsets = reinterpret_cast<const std::uint64_t*>(bytes);
    } else {
      aligned_offsets.resize(count);
      std::memcpy(aligned_offsets.data(), bytes, count * sizeof(std::uint64_t));
      offsets = aligned_offsets.data();
    }
    bool rising = offsets[0] == 0 && offsets[count - 1] == static_cast<std::uint64_t>(info.num_tokens);
    for (std::size_t i = 1; i < count; ++i) rising = rising && offsets[i - 1] <= offsets[i];
    if (!rising) refuse(path, "doc_offsets does not rise from 0 to the number of tokens");
  }

  std::int64_t token(std::int64_t index) const {
    if (narrow) {
      std::uint16_t id = 0;
      std::memcpy(&id, tokens + index * 2, sizeof id);
      return id;
    }
    std::uint32_t id = 0;
    std::memcpy(&id, tokens + index * 4, sizeof id);
    return id;
  }

  void check_id(std::int64_t id, std::int64_t index) const {
    if (id >= info.vocab_size)
      refuse(path, text_of("id ", id, " at token ", index, " is outside the vocabulary of ", info.vocab_size));
  }
};

TokenShard::TokenShard(const std::string& path) : impl_(std::make_shared<const Impl>(path)) {}

const ShardInfo& TokenShard::info() const {
  return impl_->info;
}
const std::string& TokenShard::path() const {
  return impl_->path;
}
const std::uint64_t* TokenShard::document_offsets() const {
  return impl_->offsets;
}

const std::uint8_t* TokenShard::loss_mask() const {
  return impl_->mask;
}

std::int64_t TokenShard::token(std::int64_t index) const {
  OSLER_CHECK(index >= 0 && index < impl_->info.num_tokens, impl_->path, " ", index);
  const std::int64_t id = impl_->token(index);
  impl_->check_id(id, index);
  return id;
}

void TokenShard::copy_tokens(std::int64_t begin, std::int64_t count, std::int64_t* out) const {
  OSLER_CHECK(begin >= 0 && count >= 0 && count <= impl_->info.num_tokens - begin, impl_->path, " ", begin, " ", count);
  for (std::int64_t i = 0; i < count; ++i) {
    out[i] = impl_->token(begin + i);
    impl_->check_id(out[i], begin + i);
  }
}

void verify_shard(const std::string& path) {
  const Seal seal = check_seal(path);
  if (seal == Seal::wrong) refuse(path, "the SHA-256 of the file is not the one in its last line");
  TokenShard(path).verify();
}

void TokenShard::verify() const {
  const ShardInfo& info = impl_->info;
  for (std::int64_t i = 0; i < info.num_tokens; ++i) impl_->check_id(impl_->token(i), i);
  Sha256 sum;
  sum.update(std::span(impl_->tokens, static_cast<std::size_t>(info.num_tokens) * (impl_->narrow ? 2 : 4)));
  sum.update(std::as_bytes(std::span(impl_->offsets, static_cast<std::size_t>(info.num_documents) + 1)));
  if (impl_->mask != nullptr) {
    const std::span<const std::uint8_t> mask(impl_->mask, static_cast<std::size_t>(info.num_tokens));
    sum.update(std::as_bytes(mask));
    if (std::count(mask.begin(), mask.end(), 1) != info.num_supervised ||
        std::any_of(mask.begin(), mask.end(), [](std::uint8_t flag) { return flag > 1; }))
      refuse(impl_->path, "loss_mask holds other flags than the attributes say");
  }
  if (sum.hex() != info.content_sha256) refuse(impl_->path, "the SHA-256 of its content is not the stored one");
}

}  // namespace osler::data
