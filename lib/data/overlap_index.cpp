#include "data/overlap_index.hpp"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/error.hpp"

namespace osler::data {
namespace {

// Polynomials over 64-bit words in two odd bases: what a run of words hashes to does not depend on where it stands.
constexpr OverlapKey kBase{0xD6E8FEB86659FD93ULL, 0xA0761D6478BD642FULL};

OverlapKey appended(const OverlapKey& key, const text::WordHash& word) {
  return {key.a * kBase.a + word[0], key.b * kBase.b + word[1]};
}

std::vector<text::WordHash> words_of(std::string_view text) {
  std::vector<text::WordHash> words;
  text::WordReader reader(text);
  text::WordHash word{};
  while (reader.next(word)) words.push_back(word);
  return words;
}

OverlapKey key_of(std::span<const text::WordHash> words) {
  OverlapKey key;
  for (const text::WordHash& word : words) key = appended(key, word);
  return key;
}

struct Occurrence {
  OverlapKey key;
  std::uint32_t item = 0;
  std::uint32_t words = 0;
};

OverlapKeySet set_of(const std::vector<Occurrence>& occurrences) {
  std::vector<OverlapKey> keys;
  keys.reserve(occurrences.size());
  for (const Occurrence& occurrence : occurrences) keys.push_back(occurrence.key);
  return OverlapKeySet(std::move(keys));
}

void add_ngrams(std::string_view text, std::uint32_t item, std::size_t length, std::vector<Occurrence>& ngrams) {
  const std::vector<text::WordHash> words = words_of(text);
  for (std::size_t i = 0; i + length <= words.size(); ++i)
    ngrams.push_back({key_of(std::span(words).subspan(i, length)), item, static_cast<std::uint32_t>(length)});
}

}  // namespace

OverlapKeySet::OverlapKeySet(std::vector<OverlapKey> keys) : keys_(std::move(keys)) {
  std::sort(keys_.begin(), keys_.end());
  keys_.erase(std::unique(keys_.begin(), keys_.end()), keys_.end());
  if (keys_.size() >= kNone) throw DataError("the benchmarks hold too many different n-grams: ", keys_.size());
  // 16 bits a key let 6 % of other text through to the table.
  const int filter_bits = std::max(6, static_cast<int>(std::bit_width(keys_.size() * 16)));
  filter_shift_ = 64 - filter_bits;
  filter_.assign(std::size_t{1} << (filter_bits - 6), 0);
  const std::size_t capacity = std::bit_ceil(keys_.size() * 2 + 1);
  table_.assign(capacity, kNone);
  mask_ = capacity - 1;
  for (std::size_t i = 0; i < keys_.size(); ++i) {
    const std::uint64_t bit = keys_[i].a * 0x9E3779B97F4A7C15ULL >> filter_shift_;
    filter_[bit >> 6] |= std::uint64_t{1} << (bit & 63);
    std::uint64_t slot = keys_[i].b & mask_;
    while (table_[slot] != kNone) slot = (slot + 1) & mask_;
    table_[slot] = static_cast<std::uint32_t>(i);
  }
}

std::uint32_t OverlapKeySet::find_in_table(const OverlapKey& key) const {
  for (std::uint64_t slot = key.b & mask_; table_[slot] != kNone; slot = (slot + 1) & mask_) {
    if (keys_[table_[slot]] == key) return table_[slot];
  }
  return kNone;
}

OverlapIndex::OverlapIndex(const std::vector<Benchmark>& benchmarks, const OverlapRules& rules)
    : rules_(rules), num_benchmarks_(benchmarks.size()) {
  const auto ngram = static_cast<std::size_t>(rules.ngram_words);
  const auto shortest = static_cast<std::size_t>(rules.min_question_words);
  OSLER_CHECK(ngram > 0 && shortest > 0, ngram, " ", shortest);
  std::vector<Occurrence> ngrams;
  std::vector<Occurrence> questions;
  std::vector<Occurrence> anchors;
  std::size_t longest = std::max(ngram, shortest);
  for (std::size_t b = 0; b < benchmarks.size(); ++b) {
    for (const BenchmarkItem& item : benchmarks[b].items) {
      const auto number = static_cast<std::uint32_t>(benchmark_of_item_.size());
      benchmark_of_item_.push_back(static_cast<std::uint32_t>(b));
      add_ngrams(item.question, number, ngram, ngrams);
      for (const std::string& option : item.options) add_ngrams(option, number, ngram, ngrams);
      const std::vector<text::WordHash> words = words_of(item.question);
      if (words.size() < shortest) continue;
      longest = std::max(longest, words.size());
      const auto length = static_cast<std::uint32_t>(words.size());
      questions.push_back({key_of(words), number, length});
      anchors.push_back({key_of(std::span(words).last(shortest)), number, length});
    }
  }
  ngrams_ = set_of(ngrams);
  questions_ = set_of(questions);
  anchors_ = set_of(anchors);
  first_long_question_ = ngrams_.size();
  is_long_.assign(questions_.size(), 0);
  std::vector<std::pair<std::uint32_t, std::uint32_t>> pairs;  // pattern, item
  for (const Occurrence& one : ngrams) pairs.emplace_back(ngrams_.find(one.key), one.item);
  for (const Occurrence& one : questions) {
    const std::uint32_t question = questions_.find(one.key);
    is_long_[question] = one.words >= ngram ? 1 : 0;
    pairs.emplace_back(static_cast<std::uint32_t>(ngrams_.size()) + question, one.item);
  }
  std::sort(pairs.begin(), pairs.end());
  pairs.erase(std::unique(pairs.begin(), pairs.end()), pairs.end());
  num_patterns_of_item_.assign(benchmark_of_item_.size(), 0);
  item_offsets_.assign(num_patterns() + 1, 0);
  for (const auto& [pattern, item] : pairs) {
    ++item_offsets_[pattern + 1];
    items_.push_back(item);
    ++num_patterns_of_item_[item];
  }
  for (std::size_t p = 0; p < num_patterns(); ++p) item_offsets_[p + 1] += item_offsets_[p];
  lengths_of_anchor_.resize(anchors_.size());
  for (const Occurrence& one : anchors) lengths_of_anchor_[anchors_.find(one.key)].push_back(one.words);
  for (std::vector<std::uint32_t>& lengths : lengths_of_anchor_) {
    std::sort(lengths.begin(), lengths.end());
    lengths.erase(std::unique(lengths.begin(), lengths.end()), lengths.end());
  }
  powers_.push_back({1, 1});
  for (std::size_t i = 0; i < longest; ++i) powers_.push_back({powers_.back().a * kBase.a, powers_.back().b * kBase.b});
}

std::span<const std::uint32_t> OverlapIndex::items_of(std::size_t pattern) const {
  return std::span(items_).subspan(item_offsets_[pattern], item_offsets_[pattern + 1] - item_offsets_[pattern]);
}

OverlapScanner::OverlapScanner(const OverlapIndex& index)
    : index_(index),
      ring_(std::bit_ceil(index.powers_.size() + 1)),
      last_document_(index.num_patterns(), 0),
      num_documents_(index.num_patterns(), 0) {}

const std::vector<std::uint32_t>& OverlapScanner::scan(std::span<const std::string_view> pieces) {
  ++document_;
  found_.clear();
  for (const std::string_view piece : pieces) scan_piece(piece);
  return found_;
}

OverlapKey OverlapScanner::last_words(std::size_t count) const {
  const OverlapKey& whole = ring_[num_words_ & (ring_.size() - 1)];
  const OverlapKey& before = ring_[(num_words_ - count) & (ring_.size() - 1)];
  const OverlapKey& power = index_.powers_[count];
  return {whole.a - before.a * power.a, whole.b - before.b * power.b};
}

void OverlapScanner::scan_piece(std::string_view text) {
  const auto ngram = static_cast<std::size_t>(index_.rules_.ngram_words);
  const auto shortest = static_cast<std::size_t>(index_.rules_.min_question_words);
  num_words_ = 0;
  ring_[0] = {};
  OverlapKey key;
  text::WordReader reader(text);
  text::WordHash word{};
  while (reader.next(word)) {
    key = appended(key, word);
    ring_[++num_words_ & (ring_.size() - 1)] = key;
    if (num_words_ >= ngram) {
      const std::uint32_t hit = index_.ngrams_.find(last_words(ngram));
      if (hit != OverlapKeySet::kNone) found(hit);
    }
    if (num_words_ < shortest) continue;
    const std::uint32_t anchor = index_.anchors_.find(last_words(shortest));
    if (anchor == OverlapKeySet::kNone) continue;
    for (const std::uint32_t length : index_.lengths_of_anchor_[anchor]) {
      if (length > num_words_) break;
      const std::uint32_t hit = index_.questions_.find(last_words(length));
      if (hit != OverlapKeySet::kNone) found(index_.ngrams_.size() + hit);
    }
  }
}

void OverlapScanner::found(std::size_t pattern) {
  if (last_document_[pattern] == document_) return;
  last_document_[pattern] = document_;
  const std::int64_t seen = ++num_documents_[pattern];
  const std::int64_t most = index_.rules_.max_documents * kRawFactor;
  if (most > 0 && seen > most && index_.can_be_stock(pattern)) return;
  found_.push_back(static_cast<std::uint32_t>(pattern));
}

}  // namespace osler::data
