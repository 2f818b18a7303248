// Which sequence is the n-th of a run: a pure function of (seed, n), whatever the ranks or restarts. Weights are shares
// of tokens; all windows have the same length, so the share of sequences is the share of tokens: at every n each source
// is within one sequence of its share (largest remainder).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/options.hpp"
#include "data/batch.hpp"
#include "data/token_shard.hpp"

namespace osler::data {

/// stream: documents one after the other, cut into windows (pretraining). conversations: whole conversations side by
/// side, with a loss mask (fine-tuning).
enum class Windows { stream, conversations };

/// How conversations become windows; a pure function of these and of the shards.
struct PackingOptions {
  std::int64_t sequence_length = 0;
  config::TooLong too_long = config::TooLong::drop;
  std::uint64_t seed = 0;
  std::uint64_t source = 0;  ///< index, part of the key of the order
};

/// What became of a source's conversations.
struct PackingReport {
  std::int64_t num_packed = 0;      ///< conversations in windows
  std::int64_t num_tokens = 0;      ///< in windows, padding left out
  std::int64_t num_cut = 0;         ///< too long: packed with their first sequence_length tokens
  std::int64_t num_dropped = 0;     ///< too long: left out
  std::int64_t num_unanswered = 0;  ///< left out because nothing supervised is in their first sequence_length tokens
  double fill = 0;                  ///< share of the windows' tokens that are not padding
};

/// All shards of one source as one stream of tokens, cut into windows of sequence_length + 1 tokens that overlap by
/// one.
class TokenSource {
 public:
  /// path: a shard, a folder that holds *.h5 (at any depth) or a glob; shards are taken in the order of their paths.
  /// Throws DataError naming the file: not a shard, another tokenizer or source than its neighbours, too few tokens.
  TokenSource(std::string name, const std::string& path, std::int64_t sequence_length);
  /// Conversations, packed: each stands whole in one window, once an epoch, best fit in a keyed order. Throws as above,
  /// and for shards without a loss mask or of another template.
  TokenSource(std::string name, const std::string& path, const PackingOptions& packing);
  const std::string& name() const;
  const std::string& chat_template() const;             ///< "" for running text
  const std::optional<PackingReport>& packing() const;  ///< nullopt for running text
  std::int64_t num_windows() const;
  std::int64_t num_tokens() const;
  const std::string& tokenizer_sha256() const;
  const std::string& first_file() const;
  const std::string& fingerprint() const;  ///< of shard contents as their writer summed them: names are not part of it
  std::int64_t vocab_size() const;
  /// Fills row `row` of the batch with window `window` and adds to num_supervised. The label of a document's last token
  /// (the next one opens another document) is -100 and a new segment follows it, unless `cross_document`: then the row
  /// is one segment and every token is supervised. Of conversations only masked tokens are labels, each conversation is
  /// a segment, and so is the padding after the last one. Throws DataError when the shard holds an id outside its
  /// vocabulary.
  void fill(Batch& batch, std::int64_t row, std::int64_t window, bool cross_document) const;

 private:
  struct Impl;
  struct Stream;
  struct Conversations;
  std::shared_ptr<const Impl> impl_;
};

class Mixture {
 public:
  /// Throws DataError when sources come from different tokenizers (both named), ConfigError for impossible options.
  /// Of conversations a source's weight is how often an epoch shows it: its share of the sequences is its windows times
  /// its weight.
  Mixture(const config::DataOptions& options, std::uint64_t seed, Windows windows = Windows::stream);
  /// Steps that show every source weight * epochs times, rounded up; conversations only.
  std::int64_t steps_of_epochs(double epochs) const;
  std::vector<SampleId> samples_of_step(std::int64_t step) const;  ///< global batch of `step` (from 0), in order
  /// The micro-batches of one dp rank at a step: sequence i of the global batch belongs to rank i / (global/dp_size).
  std::vector<Batch> batches_of_step(std::int64_t step, int dp_rank, int dp_size) const;
  /// Sequences per source consumed before `step`.
  std::vector<std::int64_t> ledger_before(std::int64_t step) const;
  const std::vector<TokenSource>& sources() const;
  std::string fingerprint() const;  ///< sources, weights, sequence_length, seed, global_batch, cross_document

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

/// The first validation_sequences windows of each validation set, dealt over dp ranks, as micro-batches. Every rank
/// gets the same number of batches and rows; rows beyond the last window are padding (labels -100, window -1).
std::vector<Batch> validation_batches(const TokenSource& source, const config::DataOptions& options, int dp_rank,
                                      int dp_size);

}  // namespace osler::data
