#include <algorithm>
#include <utility>

#include "base/error.hpp"
#include "base/sha256.hpp"
#include "data/mixture.hpp"
#include "text/input_files.hpp"

namespace osler::data {
namespace {

std::vector<TokenShard> open_shards(const std::string& name, const std::string& path) {
  const std::vector<std::string> files = text::find_files(path);
  const bool named = files.size() == 1 && files.front() == path;
  std::vector<TokenShard> shards;
  for (const std::string& file : files) {
    if (named || file.ends_with(".h5")) shards.emplace_back(file);
  }
  if (shards.empty())
    throw DataError("source ", name, ": ", path, " holds no token shard (*.h5); make them with 'osler tokenize'");
  return shards;
}

void require_alike(const std::string& name, const std::vector<TokenShard>& shards) {
  const ShardInfo& first = shards.front().info();
  for (const TokenShard& shard : shards) {
    const ShardInfo& info = shard.info();
    if (info.tokenizer_sha256 != first.tokenizer_sha256 || info.vocab_size != first.vocab_size) {
      throw DataError("source ", name, ": ", shards.front().path(), " and ", shard.path(),
                      " come from different tokenizers");
    }
    if (info.source != first.source) {
      throw DataError("source ", name, ": ", shards.front().path(), " and ", shard.path(),
                      " belong to different sources ('", first.source, "' and '", info.source,
                      "'); give the folder of one source");
    }
  }
}

}  // namespace

struct TokenSource::Impl {
  std::string name;
  std::vector<TokenShard> shards;
  std::vector<std::int64_t> bases;  // first token of each shard in the stream, and the end
  std::int64_t sequence_length = 0;
  std::string fingerprint;

  /// Copies stream tokens [begin, begin + count).
  void copy(std::int64_t begin, std::int64_t count, std::int64_t* out) const {
    std::size_t s = static_cast<std::size_t>(std::upper_bound(bases.begin(), bases.end(), begin) - bases.begin()) - 1;
    for (; count > 0; ++s) {
      const std::int64_t part = std::min(count, bases[s + 1] - begin);
      shards[s].copy_tokens(begin - bases[s], part, out);
      begin += part;
      out += part;
      count -= part;
    }
  }

  /// Marks which of the stream's tokens begin + 1 ... begin + count open a document.
  void mark_starts(std::int64_t begin, std::int64_t count, std::vector<char>& opens) const {
    opens.assign(static_cast<std::size_t>(count) + 1, 0);
    std::size_t s = static_cast<std::size_t>(std::upper_bound(bases.begin(), bases.end(), begin) - bases.begin()) - 1;
    for (; s < shards.size() && bases[s] <= begin + count; ++s) {
      const std::uint64_t* first = shards[s].document_offsets();
      const std::uint64_t* last = first + shards[s].info().num_documents;
      const auto from = static_cast<std::uint64_t>(std::max<std::int64_t>(0, begin + 1 - bases[s]));
      for (const std::uint64_t* start = std::lower_bound(first, last, from); start != last; ++start) {
        const std::int64_t at = bases[s] + static_cast<std::int64_t>(*start) - begin;
        if (at > count) break;
        opens[static_cast<std::size_t>(at)] = 1;
      }
    }
  }
};

TokenSource::TokenSource(std::string name, const std::string& path, std::int64_t sequence_length) {
  OSLER_CHECK(sequence_length > 0, sequence_length);
  const auto impl = std::make_shared<Impl>();
  impl->name = std::move(name);
  impl->sequence_length = sequence_length;
  impl->shards = open_shards(impl->name, path);
  require_alike(impl->name, impl->shards);
  Sha256 sum;
  impl->bases.push_back(0);
  for (const TokenShard& shard : impl->shards) {
    const ShardInfo& info = shard.info();
    sum.update(text_of(info.content_sha256, " ", info.num_tokens, " ", info.num_documents, " ", info.vocab_size, " ",
                       info.tokenizer_sha256, "\n"));
    impl->bases.push_back(impl->bases.back() + info.num_tokens);
  }
  impl->fingerprint = sum.hex();
  if (impl->bases.back() < sequence_length + 1) {
    throw DataError("source ", impl->name, " (", path, ") holds ", impl->bases.back(),
                    " tokens, fewer than one window of ", sequence_length + 1,
                    "; shorten data.sequence_length or add text");
  }
  impl_ = impl;
}

const std::string& TokenSource::name() const {
  return impl_->name;
}
std::int64_t TokenSource::num_tokens() const {
  return impl_->bases.back();
}
std::int64_t TokenSource::num_windows() const {
  return (num_tokens() - 1) / impl_->sequence_length;
}
const std::string& TokenSource::tokenizer_sha256() const {
  return impl_->shards.front().info().tokenizer_sha256;
}
const std::string& TokenSource::first_file() const {
  return impl_->shards.front().path();
}
const std::string& TokenSource::fingerprint() const {
  return impl_->fingerprint;
}
std::int64_t TokenSource::vocab_size() const {
  return impl_->shards.front().info().vocab_size;
}

void TokenSource::fill(Batch& batch, std::int64_t row, std::int64_t window, bool cross_document) const {
  const std::int64_t length = impl_->sequence_length;
  OSLER_CHECK(window >= 0 && window < num_windows(), impl_->name, " ", window);
  OSLER_CHECK(row >= 0 && row < batch.tokens_BT.size(0) && batch.tokens_BT.size(1) == length, row);
  std::vector<std::int64_t> ids(static_cast<std::size_t>(length) + 1);
  impl_->copy(window * length, length + 1, ids.data());
  std::vector<char> opens(static_cast<std::size_t>(length) + 1, 0);
  if (!cross_document) impl_->mark_starts(window * length, length, opens);

  constexpr std::int64_t kUnsupervised = -100;
  std::int64_t* tokens = batch.tokens_BT.data_ptr<std::int64_t>() + row * length;
  std::int64_t* labels = batch.labels_BT.data_ptr<std::int64_t>() + row * length;
  std::int64_t* positions = batch.positions_BT.data_ptr<std::int64_t>() + row * length;
  std::int64_t* segments = batch.segments_BT.data_ptr<std::int64_t>() + row * length;
  std::int64_t segment = 0;
  std::int64_t position = 0;
  for (std::int64_t t = 0; t < length; ++t) {
    const auto at = static_cast<std::size_t>(t);
    if (opens[at] != 0) {
      ++segment;
      position = 0;
    }
    tokens[t] = ids[at];
    labels[t] = opens[at + 1] != 0 ? kUnsupervised : ids[at + 1];
    positions[t] = position++;
    segments[t] = segment;
    batch.num_supervised += opens[at + 1] != 0 ? 0 : 1;
  }
}

}  // namespace osler::data
