#include "data/token_shard.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <fstream>

#include "base/error.hpp"
#include "base/publish.hpp"
#include "base/seal.hpp"
#include "data/mapped_file.hpp"
#include "store/hdf5_file.hpp"
#include "support/temporary_folder.hpp"

namespace osler::data {
namespace {

using testing::HasSubstr;
using tests::message_of;
using tests::TemporaryFolder;

ShardInfo info_of(std::int64_t vocab_size) {
  ShardInfo info;
  info.source = "clinical";
  info.tokenizer_sha256 = std::string(64, 'a');
  info.vocab_size = vocab_size;
  info.bos_id = 1;
  info.eos_id = 2;
  return info;
}

TEST(TokenShard, HoldsWhatWasWritten) {
  const TemporaryFolder folder;
  for (const std::int64_t vocab_size : {1000, 65536, 65537, 1 << 20}) {
    const std::string path = folder / ("shard" + std::to_string(vocab_size) + ".h5");
    TokenShardWriter writer(path, info_of(vocab_size));
    const std::vector<std::vector<int>> documents = {{1, 5, static_cast<int>(vocab_size) - 1, 2}, {}, {1, 2}};
    for (const auto& document : documents) writer.add_document(document);
    EXPECT_THROW(writer.add_document({3, static_cast<int>(vocab_size)}), DataError);
    EXPECT_THROW(writer.add_document({-1}), DataError);
    writer.finish({{"bad_utf8", 3}});

    const TokenShard shard(path);
    EXPECT_EQ(shard.info().num_documents, 3);
    EXPECT_EQ(shard.info().num_tokens, 6);
    EXPECT_EQ(shard.info().source, "clinical");
    EXPECT_EQ(shard.info().eos_id, 2);
    EXPECT_EQ(shard.info().dropped.at("bad_utf8"), 3);
    std::vector<std::int64_t> ids(6);
    shard.copy_tokens(0, 6, ids.data());
    EXPECT_EQ(ids, (std::vector<std::int64_t>{1, 5, vocab_size - 1, 2, 1, 2}));
    EXPECT_EQ(shard.token(2), vocab_size - 1);
    const std::vector<std::uint64_t> offsets(shard.document_offsets(), shard.document_offsets() + 4);
    EXPECT_EQ(offsets, (std::vector<std::uint64_t>{0, 4, 4, 6}));
    EXPECT_THROW(shard.copy_tokens(3, 4, ids.data()), InternalError);
    shard.verify();
    const DType expected = vocab_size <= 65536 ? DType::u16 : DType::u32;
    EXPECT_EQ(store::ReadFile(path).dataset("tokens").dtype, expected);
  }
}

/// A shard like ours, with one thing changed before it is written.
struct Forged {
  store::Attributes attributes;
  std::vector<std::uint16_t> tokens = {1, 5, 2, 1, 2};
  std::vector<std::uint64_t> offsets = {0, 3, 5};
  std::string tokens_name = "tokens";
  DType offsets_type = DType::u64;

  Forged() {
    attributes["format_version"] = std::int64_t{1};
    attributes["source"] = std::string("s");
    attributes["tokenizer_sha256"] = std::string(64, 'a');
    attributes["content_sha256"] = std::string(64, 'b');
    attributes["vocab_size"] = std::int64_t{10};
    attributes["bos_id"] = std::int64_t{1};
    attributes["eos_id"] = std::int64_t{2};
    attributes["num_documents"] = std::int64_t{2};
    attributes["num_tokens"] = std::int64_t{5};
  }

  std::string write(const std::string& path) const {
    store::Image image;
    image.declare(tokens_name, DType::u16, {static_cast<std::int64_t>(tokens.size())});
    image.declare("doc_offsets", offsets_type, {static_cast<std::int64_t>(offsets.size())});
    image.set_attributes("", attributes);
    image.seal();
    std::memcpy(image.bytes_of(tokens_name).data(), tokens.data(), tokens.size() * 2);
    std::memcpy(image.bytes_of("doc_offsets").data(), offsets.data(), image.bytes_of("doc_offsets").size());
    write_file_synced(path, image.bytes());
    return path;
  }
};

TEST(TokenShard, RefusesWhatIsInconsistent) {
  const std::vector<std::pair<std::string, std::function<void(Forged&)>>> cases = {
      {"format_version 3", [](Forged& f) { f.attributes["format_version"] = std::int64_t{3}; }},
      {"no attribute 'template'", [](Forged& f) { f.attributes["format_version"] = std::int64_t{2}; }},
      {"no attribute 'source'", [](Forged& f) { f.attributes.erase("source"); }},
      {"wrong type", [](Forged& f) { f.attributes["vocab_size"] = std::string("10"); }},
      {"no sense", [](Forged& f) { f.attributes["vocab_size"] = std::int64_t{0}; }},
      {"no sense", [](Forged& f) { f.attributes["num_tokens"] = std::int64_t{-5}; }},
      {"outside the vocabulary", [](Forged& f) { f.attributes["eos_id"] = std::int64_t{10}; }},
      {"4 elements", [](Forged& f) { f.attributes["num_tokens"] = std::int64_t{4}; }},
      {"4 elements", [](Forged& f) { f.attributes["num_documents"] = std::int64_t{3}; }},
      {"u16, not u32", [](Forged& f) { f.attributes["vocab_size"] = std::int64_t{70000}; }},
      {"not u64", [](Forged& f) { f.offsets_type = DType::u32; }},
      {"no dataset 'tokens'", [](Forged& f) { f.tokens_name = "token"; }},
      {"does not rise",
       [](Forged& f) {
         f.offsets = {1, 3, 5};
       }},
      {"does not rise",
       [](Forged& f) {
         f.offsets = {0, 3, 4};
       }},
      {"does not rise",
       [](Forged& f) {
         f.offsets = {0, 6, 5};
       }},
      {"does not rise",
       [](Forged& f) {
         f.offsets = {0, 3, ~0ULL};
       }},
  };
  const TemporaryFolder folder;
  EXPECT_EQ(TokenShard(Forged().write(folder / "good.h5")).info().num_tokens, 5);
  for (std::size_t i = 0; i < cases.size(); ++i) {
    Forged forged;
    cases[i].second(forged);
    const std::string path = forged.write(folder / ("bad" + std::to_string(i) + ".h5"));
    const std::string message = message_of<DataError>([&] { TokenShard shard(path); });
    EXPECT_THAT(message, HasSubstr(cases[i].first));
    EXPECT_THAT(message, HasSubstr(path));
  }
  for (const std::string& bytes :
       {std::string(), std::string("not hdf5"), read_file(folder / "good.h5").substr(0, 900)}) {
    const std::string path = folder.write("broken.h5", bytes);
    EXPECT_THAT(message_of<DataError>([&] { TokenShard shard(path); }), HasSubstr(path));
  }
  EXPECT_THROW(TokenShard(folder / "absent.h5"), StorageError);
}

TEST(TokenShard, NoticesForeignIdsAndFlips) {
  const TemporaryFolder folder;
  Forged forged;
  forged.tokens[1] = 10;
  const TokenShard shard(forged.write(folder / "ids.h5"));
  std::vector<std::int64_t> ids(5);
  EXPECT_THAT(message_of<DataError>([&] { shard.copy_tokens(0, 5, ids.data()); }), HasSubstr("id 10 at token 1"));
  EXPECT_THROW(shard.token(1), DataError);
  EXPECT_THROW(shard.verify(), DataError);

  TokenShardWriter writer(folder / "flip.h5", info_of(1000));
  writer.add_document({1, 300, 400, 2});
  writer.finish();
  std::string bytes = read_file(folder / "flip.h5");
  const store::DatasetInfo tokens = store::ReadFile(folder / "flip.h5").dataset("tokens");
  bytes[tokens.file_offset + 2] ^= 1;  // 300 -> 301
  const TokenShard flipped(folder.write("flipped.h5", bytes));
  EXPECT_EQ(flipped.token(1), 301);
  EXPECT_THAT(message_of<DataError>([&] { flipped.verify(); }), HasSubstr("SHA-256"));
}

TEST(TokenShard, EveryFlippedByteOfAFileIsFound) {
  const TemporaryFolder folder;
  TokenShardWriter writer(folder / "good.h5", info_of(1000));
  writer.add_document({1, 300, 400, 2});
  writer.finish();
  EXPECT_NO_THROW(verify_shard(folder / "good.h5"));
  const std::string good = read_file(folder / "good.h5");
  for (std::size_t at = 0; at < good.size(); ++at) {
    std::string bytes = good;
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << at % 8));
    const std::string path = folder.write("bad.h5", bytes);
    EXPECT_THAT(message_of<DataError>([&] { verify_shard(path); }), HasSubstr(path)) << "byte " << at;
  }
  for (const std::size_t length : {std::size_t{0}, std::size_t{1}, good.size() - 78, good.size() - 1}) {
    const std::string path = folder.write("cut.h5", good.substr(0, length));
    EXPECT_THAT(message_of<DataError>([&] { verify_shard(path); }), HasSubstr(path)) << "cut to " << length;
  }
  // A shard of an older release has no last line.
  Forged forged;
  EXPECT_NO_THROW(check_seal(forged.write(folder / "old.h5")));
  EXPECT_EQ(check_seal(folder / "old.h5"), Seal::absent);
}

}  // namespace
}  // namespace osler::data
