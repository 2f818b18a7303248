#include "text/segment_encoder.hpp"

#include <sentencepiece_processor.h>

#include <cstddef>
#include <functional>
#include <mutex>
#include <string>
#include <unordered_map>

#include "base/error.hpp"

namespace osler::text {
namespace {

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";       // U+2581, how a model writes a space
constexpr std::size_t kMaxRememberedBytes = 64;               // of one segment: longer ones hardly ever come again
constexpr std::size_t kMaxRemembered = std::size_t{1} << 19;  // bounds the memory to about 100 MB

/// A piece like "a▁b": text cannot be cut before its inner space without changing the ids.
bool reaches_over_an_edge(std::string_view piece) {
  std::size_t at = piece.find(kSpaceMark, 1);
  for (; at != std::string_view::npos; at = piece.find(kSpaceMark, at + 1)) {
    if (at < kSpaceMark.size() || piece.substr(at - kSpaceMark.size(), kSpaceMark.size()) != kSpaceMark) return true;
  }
  return false;
}

/// Where the segment that starts at `begin` ends: before the next space that follows something else than a space.
std::size_t segment_end(std::string_view text, std::size_t begin) {
  for (std::size_t at = text.find(' ', begin + 1); at != std::string_view::npos; at = text.find(' ', at + 1)) {
    const bool after_space = text[at - 1] == ' ' || text.substr(0, at).ends_with(kSpaceMark);
    if (!after_space) return at;
  }
  return text.size();
}

struct ViewHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};

}  // namespace

struct SegmentEncoder::Impl {
  sentencepiece::SentencePieceProcessor processor;  // puts no space before a text
  bool add_dummy_prefix = true;
  std::mutex mutex;
  std::unordered_map<std::string, std::vector<int>, ViewHash, std::equal_to<>> remembered;

  void append(std::string_view segment, std::vector<int>& ids) {
    if (const auto known = remembered.find(segment); known != remembered.end()) {
      ids.insert(ids.end(), known->second.begin(), known->second.end());
      return;
    }
    std::vector<int> fresh;
    const auto status = processor.Encode(segment, &fresh);
    if (!status.ok()) throw DataError("SentencePiece could not encode a text: ", status.ToString());
    ids.insert(ids.end(), fresh.begin(), fresh.end());
    if (segment.size() > kMaxRememberedBytes) return;
    if (remembered.size() >= kMaxRemembered) remembered.clear();
    remembered.emplace(segment, std::move(fresh));
  }
};

SegmentEncoder::SegmentEncoder() : impl_(std::make_unique<Impl>()) {}
SegmentEncoder::~SegmentEncoder() = default;

std::unique_ptr<SegmentEncoder> SegmentEncoder::build(std::string_view model, const SentencePieceTraits& traits,
                                                      const sentencepiece::SentencePieceProcessor& processor) {
  const bool fit = traits.is_bpe && traits.byte_fallback && !traits.whitespace_as_suffix && !traits.has_character_map &&
                   !traits.remove_extra_whitespaces && traits.escape_whitespaces;
  if (!fit) return nullptr;
  bool knows_space = false;
  for (int id = 0; id < processor.GetPieceSize(); ++id) {
    const std::string& piece = processor.IdToPiece(id);
    if (processor.IsControl(id) || processor.IsUnknown(id) || processor.IsByte(id)) continue;
    if (reaches_over_an_edge(piece)) return nullptr;
    knows_space = knows_space || piece == kSpaceMark;
  }
  if (!knows_space) return nullptr;
  std::unique_ptr<SegmentEncoder> encoder(new SegmentEncoder);
  encoder->impl_->add_dummy_prefix = traits.add_dummy_prefix;
  if (!encoder->impl_->processor.LoadFromSerializedProto(without_dummy_prefix(model)).ok()) return nullptr;
  return encoder;
}

bool SegmentEncoder::encode(std::string_view text, std::vector<int>& ids) const {
  const std::unique_lock<std::mutex> lock(impl_->mutex, std::try_to_lock);
  if (!lock.owns_lock()) return false;
  if (text.empty()) return true;
  std::size_t begin = 0;
  if (impl_->add_dummy_prefix) {
    begin = segment_end(text, 0);
    // The library's prefix is a space like any other. A text that starts with one gets a second, in the same segment.
    impl_->append(std::string(" ").append(text.substr(0, begin)), ids);
  }
  while (begin < text.size()) {
    const std::size_t end = segment_end(text, begin);
    impl_->append(text.substr(begin, end - begin), ids);
    begin = end;
  }
  return true;
}

}  // namespace osler::text
