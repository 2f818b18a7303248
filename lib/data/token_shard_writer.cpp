#include <algorithm>
#include <cstring>
#include <utility>

#include "base/error.hpp"
#include "base/publish.hpp"
#include "base/seal.hpp"
#include "base/sha256.hpp"
#include "data/token_shard.hpp"
#include "store/hdf5_file.hpp"

namespace osler::data {
namespace {

constexpr std::int64_t kMaxVocabOfU16 = 65536;

template <class T>
std::span<const std::byte> bytes_of(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

}  // namespace

struct TokenShardWriter::Impl {
  std::string path;
  ShardInfo info;
  bool narrow = true;  // uint16 holds every id
  std::vector<std::uint16_t> tokens_u16;
  std::vector<std::uint32_t> tokens_u32;
  std::vector<std::uint64_t> offsets{0};
  std::vector<std::uint8_t> mask;
  bool finished = false;

  bool is_masked() const { return !info.chat_template.empty(); }
  std::span<const std::byte> tokens() const { return narrow ? bytes_of(tokens_u16) : bytes_of(tokens_u32); }
  std::size_t num_tokens() const { return narrow ? tokens_u16.size() : tokens_u32.size(); }

  store::Attributes attributes() const {
    store::Attributes result;
    result["format_version"] = is_masked() ? kMaskedShardFormatVersion : kShardFormatVersion;
    result["created_by"] = std::string("osler");
    result["source"] = info.source;
    result["tokenizer_sha256"] = info.tokenizer_sha256;
    result["content_sha256"] = info.content_sha256;
    result["vocab_size"] = info.vocab_size;
    result["bos_id"] = info.bos_id;
    result["eos_id"] = info.eos_id;
    result["num_documents"] = info.num_documents;
    result["num_tokens"] = info.num_tokens;
    result["sealed"] = std::int64_t{1};
    if (is_masked()) {
      result["template"] = info.chat_template;
      result["num_supervised"] = info.num_supervised;
    }
    if (!info.decontaminated_against.empty()) result["decontaminated_against"] = info.decontaminated_against;
    if (info.identifiers_masked) result["identifiers_masked"] = std::int64_t{1};
    for (const auto& [reason, count] : info.dropped) result["drop_" + reason] = count;
    return result;
  }
};

TokenShardWriter::TokenShardWriter(const std::string& path, ShardInfo info) : impl_(std::make_unique<Impl>()) {
  OSLER_CHECK(info.vocab_size > 0 && info.vocab_size <= (std::int64_t{1} << 31), info.vocab_size);
  impl_->path = path;
  impl_->narrow = info.vocab_size <= kMaxVocabOfU16;
  impl_->info = std::move(info);
}

TokenShardWriter::~TokenShardWriter() = default;

void TokenShardWriter::add_document(const std::vector<int>& ids, const std::vector<char>& supervised) {
  Impl& self = *impl_;
  OSLER_CHECK(supervised.size() == (self.is_masked() ? ids.size() : 0), self.path);
  for (const int id : ids) {
    if (id < 0 || id >= self.info.vocab_size) {
      throw DataError("token id ", id, " of document ", self.offsets.size(), " is outside the vocabulary of ",
                      self.info.vocab_size);
    }
  }
  if (self.narrow) {
    for (const int id : ids) self.tokens_u16.push_back(static_cast<std::uint16_t>(id));
  } else {
    for (const int id : ids) self.tokens_u32.push_back(static_cast<std::uint32_t>(id));
  }
  for (const char flag : supervised) self.mask.push_back(flag != 0 ? 1 : 0);
  self.info.num_supervised += std::count(supervised.begin(), supervised.end(), 1);
  self.offsets.push_back(self.num_tokens());
}

std::int64_t TokenShardWriter::num_tokens() const {
  return impl_->finished ? impl_->info.num_tokens : static_cast<std::int64_t>(impl_->num_tokens());
}

std::int64_t TokenShardWriter::num_supervised() const {
  return impl_->info.num_supervised;
}

void TokenShardWriter::finish(const std::map<std::string, std::int64_t>& dropped) {
  Impl& self = *impl_;
  OSLER_CHECK(!self.finished, self.path);
  self.info.dropped = dropped;
  self.info.num_tokens = num_tokens();
  self.finished = true;
  self.info.num_documents = static_cast<std::int64_t>(self.offsets.size()) - 1;
  Sha256 sum;
  sum.update(self.tokens());
  sum.update(bytes_of(self.offsets));
  if (self.is_masked()) sum.update(bytes_of(self.mask));
  self.info.content_sha256 = sum.hex();

  store::Image image;
  image.declare("doc_offsets", DType::u64, {self.info.num_documents + 1});
  image.declare("tokens", self.narrow ? DType::u16 : DType::u32, {self.info.num_tokens});
  if (self.is_masked()) image.declare("loss_mask", DType::u8, {self.info.num_tokens});
  image.set_attributes("", self.attributes());
  image.seal();
  const auto place = [&image](const std::string& name, std::span<const std::byte> bytes) {
    if (!bytes.empty()) std::memcpy(image.bytes_of(name).data(), bytes.data(), bytes.size());
  };
  place("tokens", self.tokens());
  place("doc_offsets", bytes_of(self.offsets));
  if (self.is_masked()) place("loss_mask", bytes_of(self.mask));
  self.tokens_u16 = {};
  self.tokens_u32 = {};
  std::vector<std::byte> file(image.bytes().begin(), image.bytes().end());
  Sha256 whole;
  whole.update(file);
  const std::string seal = seal_of(whole.hex());
  const auto seal_bytes = std::as_bytes(std::span(seal));
  file.insert(file.end(), seal_bytes.begin(), seal_bytes.end());
  write_file_synced(self.path, file, text_file_mode());
}

}  // namespace osler::data
