// What a TokenSource is made of: its shards as one stream of tokens, and a way to cut windows from it. Local to data.
#pragma once

#include <string>
#include <vector>

#include "data/mixture.hpp"

namespace osler::data {

inline constexpr std::int64_t kUnsupervised = -100;  ///< the label that cross-entropy passes over

struct TokenSource::Impl {
  /// Opens the shards and checks that they belong together.
  Impl(std::string source_name, const std::string& path, std::int64_t length, Windows kind);
  virtual ~Impl() = default;
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  virtual std::int64_t num_windows() const = 0;
  virtual void fill(Batch& batch, std::int64_t row, std::int64_t window, bool cross_document) const = 0;

  std::int64_t num_tokens() const { return bases.back(); }
  /// Copies stream tokens [begin, begin + count).
  void copy(std::int64_t begin, std::int64_t count, std::int64_t* out) const;

  std::string name;
  std::vector<TokenShard> shards;
  std::vector<std::int64_t> bases;  ///< first token of each shard in the stream, and the end
  std::int64_t sequence_length = 0;
  std::string fingerprint;
  std::optional<PackingReport> packing;
};

/// Where row `row` of a batch stands.
struct BatchRow {
  BatchRow(Batch& batch, std::int64_t row);
  std::int64_t* tokens;
  std::int64_t* labels;
  std::int64_t* positions;
  std::int64_t* segments;
  std::int64_t* length;  ///< of what is not padding
};

}  // namespace osler::data
