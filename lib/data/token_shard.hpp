// Token shards: 1-D contiguous datasets in HDF5, read through mmap so that a window costs one page fault, not a call
// into libhdf5. Format: docs/formats.md. Local.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace osler::data {

struct ShardInfo {
  std::string source;
  std::string tokenizer_sha256;
  std::int64_t vocab_size = 0;
  std::int64_t bos_id = -1;
  std::int64_t eos_id = -1;
  std::int64_t num_documents = 0;
  std::int64_t num_tokens = 0;
  std::string chat_template;                    ///< of conversations: the shard holds a loss mask; "" = running text
  std::int64_t num_supervised = 0;              ///< of conversations: tokens that are learnt
  std::map<std::string, std::int64_t> dropped;  ///< reason -> documents, of the part of the input behind this shard
  std::string content_sha256;          ///< of tokens, offsets and mask as stored; set by TokenShardWriter::finish()
  std::string decontaminated_against;  ///< NAME:SHA-256 of benchmark files, blanks between them; empty: none
  bool identifiers_masked = false;
  bool is_sealed = false;  ///< the file ends with its sum (base/seal.hpp); not so in those of older releases
};

inline constexpr std::int64_t kShardFormatVersion = 1;
/// Of shards with a loss mask, so that a program that knows none refuses them rather than learning the questions.
inline constexpr std::int64_t kMaskedShardFormatVersion = 2;

/// Builds one shard in memory (twice its size at finish) and writes it whole. Its folder's entry is made durable by
/// whoever publishes the folder.
class TokenShardWriter {
 public:
  TokenShardWriter(const std::string& path, ShardInfo info);
  ~TokenShardWriter();
  /// `supervised`: one flag an id, for conversations only. Throws DataError unless 0 <= id < vocab_size.
  void add_document(const std::vector<int>& ids, const std::vector<char>& supervised = {});
  std::int64_t num_tokens() const;
  std::int64_t num_supervised() const;
  void finish(
      const std::map<std::string, std::int64_t>& dropped = {});  ///< the file's bytes are on disk; throws StorageError

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The whole file's sum, before libhdf5 sees it, then TokenShard::verify(). Throws DataError naming the file and what
/// is wrong.
void verify_shard(const std::string& path);

/// An open shard. Throws DataError naming the file when it is not one of ours, truncated or inconsistent.
class TokenShard {
 public:
  explicit TokenShard(const std::string& path);
  const ShardInfo& info() const;
  std::int64_t token(std::int64_t index) const;
  /// Throws DataError when an id is not below vocab_size: the file was changed after it was written.
  void copy_tokens(std::int64_t begin, std::int64_t count, std::int64_t* out) const;
  /// num_tokens flags, 1 where a token is learnt; nullptr in a shard of running text.
  const std::uint8_t* loss_mask() const;
  /// Reads everything: every id below vocab_size, every flag 0 or 1, and the content's sum as stored. Throws DataError.
  void verify() const;
  /// num_documents + 1 offsets; document d is [offsets[d], offsets[d + 1]).
  const std::uint64_t* document_offsets() const;
  const std::string& path() const;

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

}  // namespace osler::data
