// Encodes text word by word with a memory of words seen, giving exactly the ids of encoding the whole: possible for BPE
// models in which no piece reaches over the edge between a character and a following space, so that no merge can.
// Local; safe to call from several threads, of which one at a time has the use of the memory.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "text/sentencepiece_model.hpp"

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace osler::text {

class SegmentEncoder {
 public:
  /// Null when the model's pieces or settings do not allow it. `processor` is the whole model as loaded.
  static std::unique_ptr<SegmentEncoder> build(std::string_view model, const SentencePieceTraits& traits,
                                               const sentencepiece::SentencePieceProcessor& processor);
  ~SegmentEncoder();

  /// False, with `ids` untouched, when another thread is using the memory.
  bool encode(std::string_view text, std::vector<int>& ids) const;

 private:
  SegmentEncoder();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace osler::text
