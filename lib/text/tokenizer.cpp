#include "text/tokenizer.hpp"

#include <sentencepiece_processor.h>

#include <nlohmann/json.hpp>

#include <filesystem>
#include <mutex>
#include <utility>

#include "base/error.hpp"
#include "base/publish.hpp"
#include "base/sha256.hpp"
#include "text/segment_encoder.hpp"
#include "text/sentencepiece_model.hpp"

namespace osler::text {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxModelBytes = 64ULL << 20;  // the largest published models are below 8 MB
constexpr std::uint64_t kMaxConfigBytes = 16ULL << 20;
constexpr const char* kTokenizerFiles[] = {"tokenizer.model",         "tokenizer.json",    "tokenizer_config.json",
                                           "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
                                           "generation_config.json"};

std::string find_model(const std::string& path) {
  std::error_code failure;
  if (!fs::exists(path, failure)) throw DataError("tokenizer ", path, " does not exist");
  if (!fs::is_directory(path, failure)) return path;
  const fs::path model = fs::path(path) / "tokenizer.model";
  if (!fs::exists(model, failure)) {
    throw DataError("tokenizer folder ", path,
                    " holds no tokenizer.model (a SentencePiece model); other kinds are not read");
  }
  return model.string();
}

bool read_adds_bos(const fs::path& config) {
  std::error_code failure;
  if (!fs::exists(config, failure)) return true;
  const std::string content = read_file(config.string(), kMaxConfigBytes);
  const nlohmann::json parsed = nlohmann::json::parse(content, nullptr, false);
  if (!parsed.is_object()) throw DataError(config.string(), " is not a JSON object");
  const auto flag = parsed.find("add_bos_token");
  if (flag == parsed.end() || flag->is_null()) return true;
  if (!flag->is_boolean()) throw DataError(config.string(), ": add_bos_token must be true or false");
  return flag->get<bool>();
}

}  // namespace

struct Tokenizer::Impl {
  sentencepiece::SentencePieceProcessor processor;
  std::unique_ptr<SegmentEncoder> segments;  // null when the model does not allow it
  std::string sha256;
  std::vector<std::string> files;
  bool adds_bos = true;
};

Tokenizer::Tokenizer(const std::string& path) {
  const auto impl = std::make_shared<Impl>();
  const std::string model_path = find_model(path);
  std::error_code failure;
  if (!fs::is_regular_file(model_path, failure)) throw DataError("tokenizer ", model_path, " is not a regular file");
  const std::string model = read_file(model_path, kMaxModelBytes);
  const SentencePieceTraits traits = read_traits(model, model_path);
  const auto status = impl->processor.LoadFromSerializedProto(model);
  if (!status.ok()) throw DataError(model_path, " is not a usable SentencePiece model: ", status.ToString());
  if (impl->processor.GetPieceSize() < 1) throw DataError(model_path, " holds no pieces");
  impl->segments = SegmentEncoder::build(model, traits, impl->processor);
  impl->sha256 = sha256_hex(model);
  if (fs::is_directory(path, failure)) {
    for (const char* name : kTokenizerFiles) {
      const fs::path file = fs::absolute(fs::path(path) / name);
      if (fs::exists(file, failure)) impl->files.push_back(file.lexically_normal().string());
    }
    impl->adds_bos = read_adds_bos(fs::path(path) / "tokenizer_config.json");
  } else {
    impl->files.push_back(fs::absolute(model_path).lexically_normal().string());
  }
  impl_ = impl;
}

std::vector<int> Tokenizer::encode(std::string_view text) const {
  std::vector<int> ids;
  if (impl_->segments != nullptr && impl_->segments->encode(text, ids)) return ids;
  const auto status = impl_->processor.Encode(text, &ids);
  if (!status.ok()) throw DataError("SentencePiece could not encode a text: ", status.ToString());
  return ids;
}

std::string Tokenizer::decode(const std::vector<int>& ids) const {
  for (const int id : ids) {
    if (id < 0 || id >= vocab_size()) throw DataError("token id ", id, " is outside the vocabulary of ", vocab_size());
  }
  std::string text;
  const auto status = impl_->processor.Decode(ids, &text);
  if (!status.ok()) throw DataError("SentencePiece could not decode ids: ", status.ToString());
  return text;
}

SpecialPiece Tokenizer::special_piece(std::string_view name) const {
  const int id = impl_->processor.PieceToId(name);
  if (id < 0 || id >= vocab_size() || impl_->processor.IdToPiece(id) != name) return {};
  return {id, impl_->processor.IsControl(id)};
}

int Tokenizer::vocab_size() const {
  return impl_->processor.GetPieceSize();
}
int Tokenizer::bos_id() const {
  return impl_->processor.bos_id();
}
int Tokenizer::eos_id() const {
  return impl_->processor.eos_id();
}
const std::string& Tokenizer::sha256() const {
  return impl_->sha256;
}
const std::vector<std::string>& Tokenizer::files() const {
  return impl_->files;
}
bool Tokenizer::adds_bos() const {
  return impl_->adds_bos;
}

}  // namespace osler::text
