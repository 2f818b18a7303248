#include <algorithm>
#include <utility>

#include "base/error.hpp"
#include "base/sha256.hpp"
#include "data/source_windows.hpp"
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

void require_kind(const std::string& name, const TokenShard& shard, Windows kind) {
  const std::string& chat_template = shard.info().chat_template;
  if (kind == Windows::stream && !chat_template.empty())
    throw DataError("source ", name, ": ", shard.path(), " holds conversations (template ", chat_template,
                    ") for 'osler finetune'; pretraining takes running text (tokenize.format=text)");
  if (kind == Windows::conversations && chat_template.empty())
    throw DataError("source ", name, ": ", shard.path(),
                    " holds running text without a loss mask; fine-tuning takes conversations (tokenize.format=chat)");
}

void require_alike(const std::string& name, const std::vector<TokenShard>& shards) {
  const ShardInfo& first = shards.front().info();
  for (const TokenShard& shard : shards) {
    const ShardInfo& info = shard.info();
    if (info.tokenizer_sha256 != first.tokenizer_sha256 || info.vocab_size != first.vocab_size) {
      throw DataError("source ", name, ": ", shards.front().path(), " and ", shard.path(),
                      " come from different tokenizers");
    }
    if (info.chat_template != first.chat_template) {
      throw DataError("source ", name, ": ", shards.front().path(), " and ", shard.path(),
                      " were made with different templates ('", first.chat_template, "' and '", info.chat_template,
                      "')");
    }
    if (info.source != first.source) {
      throw DataError("source ", name, ": ", shards.front().path(), " and ", shard.path(),
                      " belong to different sources ('", first.source, "' and '", info.source,
                      "'); give the folder of one source");
    }
  }
}

}  // namespace

TokenSource::Impl::Impl(std::string source_name, const std::string& path, std::int64_t length, Windows kind)
    : name(std::move(source_name)), sequence_length(length) {
  OSLER_CHECK(length > 0, length);
  shards = open_shards(name, path);
  require_kind(name, shards.front(), kind);
  require_alike(name, shards);
  Sha256 sum;
  bases.push_back(0);
  for (const TokenShard& shard : shards) {
    const ShardInfo& info = shard.info();
    sum.update(text_of(info.content_sha256, " ", info.num_tokens, " ", info.num_documents, " ", info.vocab_size, " ",
                       info.tokenizer_sha256, "\n"));
    bases.push_back(bases.back() + info.num_tokens);
  }
  fingerprint = sum.hex();
}

void TokenSource::Impl::copy(std::int64_t begin, std::int64_t count, std::int64_t* out) const {
  std::size_t s = static_cast<std::size_t>(std::upper_bound(bases.begin(), bases.end(), begin) - bases.begin()) - 1;
  for (; count > 0; ++s) {
    const std::int64_t part = std::min(count, bases[s + 1] - begin);
    shards[s].copy_tokens(begin - bases[s], part, out);
    begin += part;
    out += part;
    count -= part;
  }
}

BatchRow::BatchRow(Batch& batch, std::int64_t row) {
  const std::int64_t begin = row * batch.tokens_BT.size(1);
  tokens = batch.tokens_BT.data_ptr<std::int64_t>() + begin;
  labels = batch.labels_BT.data_ptr<std::int64_t>() + begin;
  positions = batch.positions_BT.data_ptr<std::int64_t>() + begin;
  segments = batch.segments_BT.data_ptr<std::int64_t>() + begin;
  batch.lengths_B.resize(static_cast<std::size_t>(batch.tokens_BT.size(0)));
  length = &batch.lengths_B[static_cast<std::size_t>(row)];
}

/// Windows of sequence_length + 1 tokens that overlap by one.
struct TokenSource::Stream final : TokenSource::Impl {
  Stream(std::string source_name, const std::string& path, std::int64_t length)
      : Impl(std::move(source_name), path, length, Windows::stream) {
    if (num_tokens() < length + 1) {
      throw DataError("source ", name, " (", path, ") holds ", num_tokens(), " tokens, fewer than one window of ",
                      length + 1, "; shorten data.sequence_length or add text");
    }
  }

  std::int64_t num_windows() const override { return (num_tokens() - 1) / sequence_length; }
  void fill(Batch& batch, std::int64_t row, std::int64_t window, bool cross_document) const override;

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

void TokenSource::Stream::fill(Batch& batch, std::int64_t row, std::int64_t window, bool cross_document) const {
  const std::int64_t length = sequence_length;
  std::vector<std::int64_t> ids(static_cast<std::size_t>(length) + 1);
  copy(window * length, length + 1, ids.data());
  std::vector<char> opens(static_cast<std::size_t>(length) + 1, 0);
  if (!cross_document) mark_starts(window * length, length, opens);

  const BatchRow out(batch, row);
  *out.length = length;
  std::int64_t segment = 0;
  std::int64_t position = 0;
  for (std::int64_t t = 0; t < length; ++t) {
    const auto at = static_cast<std::size_t>(t);
    if (opens[at] != 0) {
      ++segment;
      position = 0;
    }
    out.tokens[t] = ids[at];
    out.labels[t] = opens[at + 1] != 0 ? kUnsupervised : ids[at + 1];
    out.positions[t] = position++;
    out.segments[t] = segment;
    batch.num_supervised += opens[at + 1] != 0 ? 0 : 1;
  }
}

TokenSource::TokenSource(std::string name, const std::string& path, std::int64_t sequence_length)
    : impl_(std::make_shared<const Stream>(std::move(name), path, sequence_length)) {}

const std::string& TokenSource::name() const {
  return impl_->name;
}
std::int64_t TokenSource::num_tokens() const {
  return impl_->num_tokens();
}
std::int64_t TokenSource::num_windows() const {
  return impl_->num_windows();
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
const std::string& TokenSource::chat_template() const {
  return impl_->shards.front().info().chat_template;
}
const std::optional<PackingReport>& TokenSource::packing() const {
  return impl_->packing;
}

void TokenSource::fill(Batch& batch, std::int64_t row, std::int64_t window, bool cross_document) const {
  OSLER_CHECK(window >= 0 && window < num_windows(), impl_->name, " ", window);
  OSLER_CHECK(row >= 0 && row < batch.tokens_BT.size(0) && batch.tokens_BT.size(1) == impl_->sequence_length, row);
  impl_->fill(batch, row, window, cross_document);
}

}  // namespace osler::data
