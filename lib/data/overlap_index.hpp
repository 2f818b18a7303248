// What of benchmark items is looked for in training text: the n-grams of their words, and whole questions. Memory is
// bounded by the benchmarks; a text is read once, whatever the number of patterns. Local.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/word_reader.hpp"

namespace osler::data {

struct BenchmarkItem {
  std::string id;
  std::int64_t line = 0;
  std::string question;
  std::vector<std::string> options;
};

struct Benchmark {
  std::string name;
  std::string file;
  std::string file_sha256;
  std::vector<BenchmarkItem> items;
};

struct OverlapRules {
  std::int64_t ngram_words = 13;        ///< GPT-3 (arXiv 2005.14165, appendix C) and lm-eval's janitor
  std::int64_t min_question_words = 8;  ///< shorter questions are not looked for as a whole
  std::int64_t max_documents = 10;      ///< a pattern in more documents is a stock phrase; 0: none is
};

/// 128 bits over a run of words.
struct OverlapKey {
  std::uint64_t a = 0;
  std::uint64_t b = 0;
  auto operator<=>(const OverlapKey&) const = default;
};

/// A set of keys numbered in ascending order: a bit filter, then open addressing.
class OverlapKeySet {
 public:
  OverlapKeySet() = default;
  explicit OverlapKeySet(std::vector<OverlapKey> keys);
  static constexpr std::uint32_t kNone = 0xFFFFFFFF;
  std::uint32_t find(const OverlapKey& key) const {
    const std::uint64_t bit = key.a * 0x9E3779B97F4A7C15ULL >> filter_shift_;
    return (filter_[bit >> 6] >> (bit & 63) & 1) == 0 ? kNone : find_in_table(key);
  }
  std::size_t size() const { return keys_.size(); }

 private:
  std::uint32_t find_in_table(const OverlapKey& key) const;
  std::vector<OverlapKey> keys_;
  std::vector<std::uint32_t> table_;
  std::vector<std::uint64_t> filter_ = {0};
  int filter_shift_ = 58;
  std::uint64_t mask_ = 0;
};

/// Patterns are numbered: first the n-grams, of questions and of each option by itself, then whole questions. Passages
/// before a question (PubMedQA's abstracts) are not patterns: they are published text that says nothing of the answer.
class OverlapIndex {
 public:
  /// Items are numbered through all benchmarks, in order. Throws DataError when they hold 2^32 words or more.
  OverlapIndex(const std::vector<Benchmark>& benchmarks, const OverlapRules& rules);

  const OverlapRules& rules() const { return rules_; }
  std::size_t num_items() const { return benchmark_of_item_.size(); }
  std::size_t num_patterns() const { return ngrams_.size() + questions_.size(); }
  std::size_t num_benchmarks() const { return num_benchmarks_; }
  std::size_t benchmark_of(std::size_t item) const { return benchmark_of_item_[item]; }
  bool is_question(std::size_t pattern) const { return pattern >= ngrams_.size(); }
  /// Whether many documents make it a stock phrase: not so a whole question that is as long as an n-gram.
  bool can_be_stock(std::size_t pattern) const {
    return pattern < first_long_question_ || !is_long_[pattern - first_long_question_];
  }
  std::span<const std::uint32_t> items_of(std::size_t pattern) const;
  /// Whether nothing of the item can be found: neither n-gram nor whole question.
  bool is_too_short(std::size_t item) const { return num_patterns_of_item_[item] == 0; }

 private:
  friend class OverlapScanner;
  struct Anchor;

  OverlapRules rules_;
  std::size_t num_benchmarks_ = 0;
  std::vector<std::uint32_t> benchmark_of_item_;
  std::vector<std::uint32_t> num_patterns_of_item_;
  OverlapKeySet ngrams_;
  OverlapKeySet questions_;
  OverlapKeySet anchors_;  ///< last min_question_words of the questions
  std::vector<std::vector<std::uint32_t>> lengths_of_anchor_;
  std::size_t first_long_question_ = 0;
  std::vector<char> is_long_;
  std::vector<std::uint64_t> item_offsets_;  ///< of pattern p: items_[item_offsets_[p]] to items_[item_offsets_[p + 1]]
  std::vector<std::uint32_t> items_;
  std::vector<OverlapKey> powers_;  ///< of the bases, 0 to the longest question
};

/// Reads texts and says which patterns are in them. One per thread.
class OverlapScanner {
 public:
  explicit OverlapScanner(const OverlapIndex& index);
  /// The patterns of one document, each once; `pieces` are read one by one, and nothing matches across two of them.
  /// A pattern that has been seen in more than kRawFactor * max_documents documents is left out from there on.
  const std::vector<std::uint32_t>& scan(std::span<const std::string_view> pieces);
  /// Documents that each pattern was seen in, duplicates included.
  const std::vector<std::int64_t>& num_documents() const { return num_documents_; }

  /// Duplicates do not make a stock phrase, but so many of them do: it bounds what is kept of a phrase.
  static constexpr std::int64_t kRawFactor = 1000;

 private:
  void scan_piece(std::string_view text);
  void found(std::size_t pattern);
  OverlapKey last_words(std::size_t count) const;

  const OverlapIndex& index_;
  std::vector<OverlapKey> ring_;  ///< hashes of the piece's first n words, for the last n
  std::size_t num_words_ = 0;
  std::int64_t document_ = 0;
  std::vector<std::int64_t> last_document_;
  std::vector<std::int64_t> num_documents_;
  std::vector<std::uint32_t> found_;
};

}  // namespace osler::data
