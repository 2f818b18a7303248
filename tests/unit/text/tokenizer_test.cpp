#include "text/tokenizer.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sentencepiece_processor.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "base/error.hpp"
#include "base/sha256.hpp"
#include "support/temporary_folder.hpp"
#include "tiny_model.hpp"

namespace osler::text {
namespace {

using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using tests::message_of;
using tests::TemporaryFolder;
using tests::tiny_model;

const std::string kSpace = "\xE2\x96\x81";

std::vector<std::string> usual_merges() {
  return {kSpace + "a",
          "ab",
          kSpace + "ab",
          kSpace + kSpace,
          kSpace + kSpace + kSpace,
          "cd",
          "abc",
          "\xC3\xA9"
          "a",
          kSpace + "abc",
          "\n\n",
          "de"};
}

std::string random_text(std::mt19937& random) {
  static const std::vector<std::string> parts = {"a",
                                                 "b",
                                                 "c",
                                                 "d",
                                                 "e",
                                                 "a",
                                                 "b",
                                                 " ",
                                                 " ",
                                                 " ",
                                                 "\n",
                                                 "\t",
                                                 "\xC3\xA9",
                                                 kSpace,
                                                 std::string("\0", 1),
                                                 "\xF0\x9F\xA9\xBA",
                                                 "Z",
                                                 "<s>",
                                                 "<0x41>",
                                                 "\xEF\xBB\xBF"};
  std::string text;
  const auto length = random() % 40;
  for (unsigned i = 0; i < length; ++i) text += parts[random() % parts.size()];
  return text;
}

/// Word by word must give what the library gives for the whole, also where no piece allows cutting.
TEST(Tokenizer, EqualsTheLibraryOnWholeTexts) {
  std::vector<std::string> over_an_edge = usual_merges();
  over_an_edge.push_back("b" + kSpace + "a");
  over_an_edge.push_back("b" + kSpace);
  const std::vector<std::string> models = {tiny_model(usual_merges()), tiny_model(usual_merges(), false),
                                           tiny_model(over_an_edge)};
  const TemporaryFolder folder;
  for (std::size_t m = 0; m < models.size(); ++m) {
    const Tokenizer tokenizer(folder.write("model" + std::to_string(m), models[m]));
    sentencepiece::SentencePieceProcessor library;
    ASSERT_TRUE(library.LoadFromSerializedProto(models[m]).ok());
    std::mt19937 random(7);
    for (int i = 0; i < 3000; ++i) {
      const std::string text = random_text(random);
      std::vector<int> expected;
      ASSERT_TRUE(library.Encode(text, &expected).ok());
      ASSERT_EQ(tokenizer.encode(text), expected) << "model " << m << ", text '" << text << "'";
    }
  }
}

TEST(Tokenizer, NeverReadsSpecialPiecesOutOfText) {
  const TemporaryFolder folder;
  const Tokenizer tokenizer(folder.write("tokenizer.model", tiny_model(usual_merges())));
  for (const int id : tokenizer.encode("<s> </s> <unk>")) EXPECT_GT(id, 2);
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("abc <s> \xF0\x9F\xA9\xBA")), "abc <s> \xF0\x9F\xA9\xBA");
  EXPECT_TRUE(tokenizer.encode("").empty());
  EXPECT_THROW(tokenizer.decode({1 << 20}), DataError);
  EXPECT_THROW(tokenizer.decode({-1}), DataError);
}

TEST(Tokenizer, KnowsItsModel) {
  const TemporaryFolder folder;
  const std::string model = tiny_model(usual_merges());
  const std::string path = folder.write("hf/tokenizer.model", model);
  folder.write("hf/tokenizer_config.json", R"({"add_bos_token": false})");
  folder.write("hf/README.md", "x");
  const Tokenizer tokenizer(folder / "hf");
  EXPECT_EQ(tokenizer.sha256(), sha256_hex(model));
  EXPECT_EQ(tokenizer.bos_id(), 1);
  EXPECT_EQ(tokenizer.eos_id(), 2);
  EXPECT_EQ(tokenizer.vocab_size(), 3 + 256 + 11 + 8);
  EXPECT_FALSE(tokenizer.adds_bos());
  EXPECT_THAT(tokenizer.files(), ElementsAre(EndsWith("hf/tokenizer.model"), EndsWith("hf/tokenizer_config.json")));
  const Tokenizer bare(path);
  EXPECT_THAT(bare.files(), ElementsAre(EndsWith("hf/tokenizer.model")));
  EXPECT_TRUE(bare.adds_bos());
  folder.write("hf/tokenizer_config.json", R"({"add_bos_token": "no"})");
  EXPECT_THAT(message_of<DataError>([&] { Tokenizer again(folder / "hf"); }), HasSubstr("add_bos_token"));
}

TEST(Tokenizer, RefusesWhatIsNoModel) {
  const TemporaryFolder folder;
  const std::string model = tiny_model(usual_merges());
  std::filesystem::create_directory(folder / "empty_folder");
  const std::string huge = folder.write("huge.model", model);
  std::filesystem::resize_file(huge, 65ULL << 20);
  const std::vector<std::string> bad = {folder / "absent.model",
                                        folder / "empty_folder",
                                        huge,
                                        folder.write("empty.model", ""),
                                        folder.write("text.model", "This is not a model at all.\n"),
                                        folder.write("json.model", R"({"model": {"type": "BPE"}})"),
                                        folder.write("cut.model", std::string_view(model).substr(0, model.size() / 2)),
                                        folder.write("tail.model", model + "\xFF\xFF"),
                                        folder.write("no_pieces.model", tests::number_field(9, 1))};
  for (const std::string& path : bad)
    EXPECT_THAT(message_of<DataError>([&] { Tokenizer tokenizer(path); }), HasSubstr(path));
}

/// Any cut and any flipped byte either loads or is refused; nothing else happens.
TEST(Tokenizer, SurvivesDamage) {
  const TemporaryFolder folder;
  const std::string model = tiny_model(usual_merges());
  std::mt19937 random(3);
  int refused = 0;
  for (int i = 0; i < 300; ++i) {
    std::string damaged = model;
    if (i % 3 == 0) {
      damaged.resize(random() % damaged.size());
    } else {
      damaged[random() % damaged.size()] = static_cast<char>(random());
    }
    try {
      const Tokenizer tokenizer(folder.write("damaged.model", damaged));
      tokenizer.encode("abc abcd");
    } catch (const DataError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 50);
}

}  // namespace
}  // namespace osler::text
