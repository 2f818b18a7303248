// Text to token ids and back, over a SentencePiece model. Local, thread-safe after construction.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace osler::text {

/// A piece of the vocabulary by its name.
struct SpecialPiece {
  int id = -1;              ///< -1: there is none
  bool is_control = false;  ///< never the encoding of any text
};

class Tokenizer {
 public:
  /// path: a SentencePiece model file, or a Hugging Face directory (or checkpoint's tokenizer/) that holds
  /// tokenizer.model. Throws DataError naming the file when it is missing or not a SentencePiece model.
  explicit Tokenizer(const std::string& path);

  std::vector<int> encode(std::string_view text) const;  ///< no BOS, no EOS; never parses special tokens in text
  std::string decode(const std::vector<int>& ids) const;
  SpecialPiece special_piece(std::string_view name) const;
  int vocab_size() const;
  int bos_id() const;  ///< -1 if none
  int eos_id() const;
  const std::string& sha256() const;              ///< of the model file
  const std::vector<std::string>& files() const;  ///< all tokenizer files beside it, absolute, to be copied
  /// Whether lm-eval's `tokenizer(text)` would put a BOS first: tokenizer_config.json's add_bos_token, default true.
  bool adds_bos() const;

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

}  // namespace osler::text
