// Conversations in windows: each whole in one, none seeing another.
#include <algorithm>
#include <limits>
#include <set>
#include <utility>

#include "base/error.hpp"
#include "base/random.hpp"
#include "data/source_windows.hpp"

namespace osler::data {
namespace {

// Where Mixture's keys of the order of data hold an epoch, which never gets so far.
constexpr std::uint64_t kPackingKey = std::numeric_limits<std::uint64_t>::max();

struct Conversation {
  std::int64_t begin = 0;  ///< in the source's stream
  std::int64_t length = 0;
};

/// Windows by the room that is left in them.
class OpenWindows {
 public:
  explicit OpenWindows(std::int64_t capacity) : capacity_(capacity), by_room_(static_cast<std::size_t>(capacity) + 1) {}

  /// The window with least room for `length` tokens, a new one where none has it.
  std::int64_t place(std::int64_t length) {
    const auto found = rooms_.lower_bound(length);
    std::int64_t room = capacity_;
    std::int64_t window = num_windows_;
    if (found == rooms_.end()) {
      ++num_windows_;
    } else {
      room = *found;
      std::vector<std::int64_t>& candidates = by_room_[static_cast<std::size_t>(room)];
      window = candidates.back();
      candidates.pop_back();
      if (candidates.empty()) rooms_.erase(found);
    }
    room -= length;
    if (room > 0) {
      by_room_[static_cast<std::size_t>(room)].push_back(window);
      rooms_.insert(room);
    }
    return window;
  }
  std::int64_t num_windows() const { return num_windows_; }

 private:
  std::int64_t capacity_;
  std::int64_t num_windows_ = 0;
  std::set<std::int64_t> rooms_;  ///< above 0, of which there are windows
  std::vector<std::vector<std::int64_t>> by_room_;
};

}  // namespace

struct TokenSource::Conversations final : TokenSource::Impl {
  Conversations(std::string source_name, const std::string& path, const PackingOptions& options)
      : Impl(std::move(source_name), path, options.sequence_length, Windows::conversations) {
    packing.emplace();
    const std::vector<Conversation> usable = choose(options.too_long);
    if (usable.empty())
      throw DataError("source ", name, " (", path,
                      "): none of its conversations fits, with an answer, in data.sequence_length = ", sequence_length,
                      "; lengthen it, or set data.too_long=cut");
    pack(usable, options);
  }

  std::int64_t num_windows() const override { return static_cast<std::int64_t>(first_of_window_.size()) - 1; }
  void fill(Batch& batch, std::int64_t row, std::int64_t window, bool cross_document) const override;

 private:
  std::vector<Conversation> choose(config::TooLong too_long);
  void pack(const std::vector<Conversation>& usable, const PackingOptions& options);
  bool is_supervised(std::int64_t token) const {
    const std::size_t s =
        static_cast<std::size_t>(std::upper_bound(bases.begin(), bases.end(), token) - bases.begin()) - 1;
    return shards[s].loss_mask()[token - bases[s]] != 0;
  }

  std::vector<Conversation> placed_;           ///< window by window
  std::vector<std::int64_t> first_of_window_;  ///< in placed_, and the end
};

/// Those that fit, and of the others what `too_long` says; counts them.
std::vector<Conversation> TokenSource::Conversations::choose(config::TooLong too_long) {
  std::vector<Conversation> usable;
  for (std::size_t s = 0; s < shards.size(); ++s) {
    const std::uint64_t* offsets = shards[s].document_offsets();
    for (std::int64_t d = 0; d < shards[s].info().num_documents; ++d) {
      const std::int64_t begin = bases[s] + static_cast<std::int64_t>(offsets[d]);
      const auto length = static_cast<std::int64_t>(offsets[d + 1] - offsets[d]);
      const bool fits = length <= sequence_length;
      if (!fits && too_long == config::TooLong::drop) {
        ++packing->num_dropped;
        continue;
      }
      const std::int64_t kept = std::min(length, sequence_length);
      std::int64_t t = 1;  // the first token is nobody's label
      while (t < kept && !is_supervised(begin + t)) ++t;
      if (t >= kept) {
        ++packing->num_unanswered;
        continue;
      }
      if (!fits) ++packing->num_cut;
      usable.push_back({begin, kept});
    }
  }
  return usable;
}

void TokenSource::Conversations::pack(const std::vector<Conversation>& usable, const PackingOptions& options) {
  const Permutation order(usable.size(), options.seed, Purpose::data_order, options.source, kPackingKey);
  OpenWindows windows(sequence_length);
  std::vector<std::int64_t> window_of(usable.size());
  for (std::size_t i = 0; i < usable.size(); ++i) {
    const Conversation& conversation = usable[order(i)];
    window_of[i] = windows.place(conversation.length);
    packing->num_tokens += conversation.length;
  }
  first_of_window_.assign(static_cast<std::size_t>(windows.num_windows()) + 1, 0);
  for (const std::int64_t window : window_of) ++first_of_window_[static_cast<std::size_t>(window) + 1];
  for (std::size_t w = 1; w < first_of_window_.size(); ++w) first_of_window_[w] += first_of_window_[w - 1];
  std::vector<std::int64_t> next = first_of_window_;
  placed_.resize(usable.size());
  for (std::size_t i = 0; i < usable.size(); ++i)
    placed_[static_cast<std::size_t>(next[static_cast<std::size_t>(window_of[i])]++)] = usable[order(i)];
  packing->num_packed = static_cast<std::int64_t>(usable.size());
  packing->fill =
      static_cast<double>(packing->num_tokens) / static_cast<double>(windows.num_windows() * sequence_length);
}

void TokenSource::Conversations::fill(Batch& batch, std::int64_t row, std::int64_t window, bool) const {
  const BatchRow out(batch, row);
  const auto w = static_cast<std::size_t>(window);
  std::int64_t at = 0;
  std::int64_t segment = 0;
  for (std::int64_t i = first_of_window_[w]; i < first_of_window_[w + 1]; ++i, ++segment) {
    const Conversation& conversation = placed_[static_cast<std::size_t>(i)];
    copy(conversation.begin, conversation.length, out.tokens + at);
    for (std::int64_t t = 0; t < conversation.length; ++t, ++at) {
      const bool is_label = t + 1 < conversation.length && is_supervised(conversation.begin + t + 1);
      out.labels[at] = is_label ? out.tokens[at + 1] : kUnsupervised;
      out.positions[at] = t;
      out.segments[at] = segment;
      batch.num_supervised += is_label ? 1 : 0;
    }
  }
  *out.length = at;
  for (std::int64_t t = 0; at < sequence_length; ++t, ++at) {
    out.positions[at] = t;
    out.segments[at] = segment;
  }
}

TokenSource::TokenSource(std::string name, const std::string& path, const PackingOptions& packing)
    : impl_(std::make_shared<const Conversations>(std::move(name), path, packing)) {}

}  // namespace osler::data
