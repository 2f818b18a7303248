// Bytes from outside: every malformed safetensors file, index and manifest is refused by name, none crashes.
#include <gmock/gmock.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "base/publish.hpp"
#include "base/sha256.hpp"
#include "checkpoint/hugging_face.hpp"
#include "checkpoint/manifest.hpp"
#include "checkpoint/safetensors.hpp"

namespace osler::checkpoint {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class HostileFiles : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = (fs::temp_directory_path() / ("osler_hostile_" + std::to_string(::getpid()))).string();
    fs::remove_all(folder_);
    make_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string put(const std::string& name, const std::string& bytes) const {
    std::ofstream(folder_ + "/" + name, std::ios::binary) << bytes;
    return folder_ + "/" + name;
  }
  std::string folder_;
};

std::string length_of(std::uint64_t length) {
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes;
}

std::string safetensors(const std::string& header, std::size_t data_bytes) {
  return length_of(header.size()) + header + std::string(data_bytes, 'x');
}

struct Case {
  const char* what;
  std::string bytes;
  const char* message;
};

TEST_F(HostileFiles, Safetensors) {
  const std::string good = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  const auto one = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return R"({"a":{"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
  };
  const auto two = [](const std::string& first, const std::string& second) {
    return R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)" + first +
           R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + second + "}}";
  };
  std::string deep = R"({"a":)";
  for (int i = 0; i < 200'000; ++i) deep += "[";
  const std::vector<Case> cases = {
      {"empty file", "", "too short"},
      {"seven bytes", "1234567", "too short"},
      {"length beyond the file", length_of(1000) + "{}", "truncated"},
      {"length 2^64 - 1", length_of(~0ULL) + "{}", "the format allows"},
      {"length just above the limit", length_of(100'000'001) + "{}", "the format allows"},
      {"empty header", safetensors("", 0), "begin with '{'"},
      {"leading space", safetensors(" " + good, 8), "begin with '{'"},
      {"byte order mark", safetensors("\xEF\xBB\xBF" + good, 8), "begin with '{'"},
      {"an array", safetensors("[]", 0), "begin with '{'"},
      {"HTML", "<!DOCTYPE html><html>login</html>", "the format allows"},
      {"no JSON", safetensors("{nope}", 0), "not valid JSON"},
      {"two values", safetensors("{}{}", 0), "not valid JSON"},
      {"NUL behind", safetensors(std::string("{}\0", 3), 0), "not valid JSON"},
      {"bad UTF-8", safetensors("{\"\xff\xfe\":{}}", 0), "not valid JSON"},
      {"200,000 levels", safetensors(deep, 0), "nested"},
      {"same tensor twice",
       safetensors(
           R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
           2),
       "twice"},
      {"same field twice", safetensors(R"({"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1),
       "twice"},
      {"tensor is a number", safetensors(R"({"a":1})", 0), "not an object"},
      {"no dtype", safetensors(R"({"a":{"shape":[1],"data_offsets":[0,1]}})", 1), "lacks"},
      {"unknown key", safetensors(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}})", 1), "unknown key"},
      {"unknown dtype", safetensors(one("\"F31\"", "[2]", "[0,8]"), 8), "unknown dtype"},
      {"dtype is a number", safetensors(one("4", "[2]", "[0,8]"), 8), "dtype is not a string"},
      {"negative dim", safetensors(one("\"F32\"", "[-2]", "[0,8]"), 8), "whole number"},
      {"fractional dim", safetensors(one("\"F32\"", "[2.0]", "[0,8]"), 8), "whole number"},
      {"dim beyond 64 bits", safetensors(one("\"F32\"", "[36893488147419103232]", "[0,8]"), 8), "whole number"},
      {"shape overflow", safetensors(one("\"F32\"", "[4611686018427387905,4]", "[0,16]"), 16), "overflows"},
      {"nine dims", safetensors(one("\"U8\"", "[1,1,1,1,1,1,1,1,1]", "[0,1]"), 1), "shape is not a list"},
      {"shape is a number", safetensors(one("\"F32\"", "2", "[0,8]"), 8), "shape is not a list"},
      {"three offsets", safetensors(one("\"F32\"", "[2]", "[0,8,8]"), 8), "not a pair"},
      {"end before begin", safetensors(one("\"F32\"", "[2]", "[8,0]"), 8), "before it begins"},
      {"negative offset", safetensors(one("\"F32\"", "[2]", "[-8,0]"), 8), "whole number"},
      {"too few bytes for the shape", safetensors(one("\"F32\"", "[2]", "[0,7]"), 7), "need 8 bytes"},
      {"beyond the end", safetensors(good, 7), "beyond the end"},
      {"trailing bytes", safetensors(good, 9), "belong to no tensor"},
      {"hole in front", safetensors(one("\"F32\"", "[2]", "[8,16]"), 16), "hole"},
      {"hole between", safetensors(two("[0,4]", "[5,9]"), 9), "hole"},
      {"overlap", safetensors(two("[0,4]", "[2,6]"), 6), "overlap"},
      {"same bytes twice", safetensors(two("[0,4]", "[0,4]"), 4), "overlap"},
      {"empty name", safetensors(R"({"":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1), "no name"},
      {"metadata is a list", safetensors(R"({"__metadata__":[]})", 0), "__metadata__"},
      {"metadata holds a number", safetensors(R"({"__metadata__":{"a":1}})", 0), "not a string"},
  };
  for (const Case& c : cases) {
    const std::string path = put("case.safetensors", c.bytes);
    try {
      const SafetensorsFile file(path);
      ADD_FAILURE() << c.what << " was accepted";
    } catch (const DataError& error) {
      EXPECT_THAT(error.what(), HasSubstr("case.safetensors")) << c.what;
      EXPECT_THAT(error.what(), HasSubstr(c.message)) << c.what;
    }
  }
  // What looks odd but is allowed: padding behind the header, tensors without elements, scalars, no tensor at all.
  EXPECT_EQ(SafetensorsFile(put("ok1", safetensors(good + "   ", 8))).entries().at("a").at, 8 + good.size() + 3);
  EXPECT_TRUE(SafetensorsFile(put("ok2", safetensors(R"({"__metadata__":{"format":"pt"}})", 0))).entries().empty());
  const std::string zero =
      R"({"b":{"dtype":"F64","shape":[],"data_offsets":[0,8]},"z":{"dtype":"F32","shape":[0,3],"data_offsets":[8,8]}})";
  EXPECT_EQ(SafetensorsFile(put("ok3", safetensors(zero, 8))).entries().size(), 2U);
}

TEST_F(HostileFiles, SafetensorsWriterIsReadBack) {
  const std::string path = folder_ + "/written.safetensors";
  SafetensorsWriter writer(path, {{"b", DType::bf16, {3}}, {"w", DType::fp32, {2, 2}}, {"a", DType::bf16, {0}}});
  for (const auto& tensor : writer.order()) writer.append(std::vector<std::byte>(num_bytes_of(tensor), std::byte{7}));
  writer.finish();
  const SafetensorsFile file(path);
  EXPECT_EQ(file.metadata().at("format"), "pt");
  EXPECT_EQ(file.entries().at("w").at % 8, 0U);
  EXPECT_EQ(file.entries().at("b").num_bytes, 6U);
}

TEST_F(HostileFiles, HuggingFaceDirectories) {
  const std::string a = safetensors(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1);
  const auto index = [](const std::string& map) { return R"({"metadata":{"total_size":1},"weight_map":)" + map + "}"; };
  struct IndexCase {
    const char* what;
    std::string index;
    const char* message;
  };
  const std::vector<IndexCase> cases = {
      {"path in a file name", index(R"({"a":"../model-1.safetensors"})"), "not the name of a safetensors file"},
      {"absolute path", index(R"({"a":"/etc/x.safetensors"})"), "not the name of a safetensors file"},
      {"another kind of file", index(R"({"a":"pytorch_model.bin"})"), "not the name of a safetensors file"},
      {"missing shard", index(R"({"a":"model-1.safetensors","b":"model-2.safetensors"})"), "model-2.safetensors"},
      {"tensor in no file", index(R"({"a":"model-1.safetensors","b":"model-1.safetensors"})"), "'b'"},
      {"tensor twice in the map", index(R"({"a":"model-1.safetensors","a":"model-1.safetensors"})"), "twice"},
      {"no map", "{}", "weight_map"},
      {"empty map", index("{}"), "empty"},
      {"number as file", index(R"({"a":1})"), "not the name"},
      {"broken", "{\"weight_map\":", "not valid JSON"}};
  put("config.json", "{}");
  EXPECT_THROW(HuggingFaceModel{folder_}, DataError);  // no weights at all
  put("model-1.safetensors", a);
  for (const IndexCase& c : cases) {
    put(kIndexFile, c.index);
    try {
      const HuggingFaceModel model(folder_);
      ADD_FAILURE() << c.what << " was accepted";
    } catch (const DataError& error) {
      EXPECT_THAT(error.what(), HasSubstr(c.message)) << c.what;
    }
  }
  put(kIndexFile, index(R"({"a":"model-1.safetensors"})"));
  EXPECT_EQ(HuggingFaceModel(folder_).names(), std::vector<std::string>{"a"});
}

Manifest sound_manifest() {
  Manifest manifest;
  manifest.created = "2026-01-01T00:00:00Z";
  manifest.state.step = 5;
  manifest.files = {{"rank_00000.h5", 1000, std::string(64, 'a')},
                    {"tokenizer/tokenizer.model", 3, std::string(64, 'b')}};
  manifest.tensors = {
      {"model/a", DType::fp32, {4, 3}, {{0, "model/a", 100, {0, 0}, {2, 3}}, {0, "model/a#1", 200, {2, 0}, {2, 3}}}},
      {"model/b", DType::bf16, {}, {{0, "model/b", 300, {}, {}}}}};
  return manifest;
}

/// The manifest with one change and a sum that fits again: what a hostile writer, not a flipped bit, would make.
std::string changed(const std::function<void(nlohmann::json&)>& change) {
  nlohmann::json json = nlohmann::json::parse(manifest_text(sound_manifest()));
  json.erase("manifest_sha256");
  change(json);
  json["manifest_sha256"] = sha256_hex(json.dump());
  return json.dump();
}

TEST(Manifest, OfVersion1SawItsTokensInPretraining) {
  const Manifest old = parse_manifest(changed([](nlohmann::json& j) {
                                        j["version"] = 1;
                                        j["state"].erase("provenance");
                                        j["state"]["tokens"] = 77;
                                      }),
                                      "manifest.json");
  EXPECT_EQ(old.state.provenance, (Provenance{77, 0, 0}));
}

TEST(HostileManifest, IsRefusedByReason) {
  using Json = nlohmann::json;
  const Manifest back = parse_manifest(manifest_text(sound_manifest()), "manifest.json");
  EXPECT_EQ(back.tensors.size(), 2U);
  EXPECT_EQ(back.state.step, 5);

  struct Change {
    const char* what;
    std::function<void(Json&)> change;
    const char* message;
  };
  const std::vector<Change> changes = {
      {"other format", [](Json& j) { j["format"] = "x"; }, "not a checkpoint"},
      {"newer version", [](Json& j) { j["version"] = 3; }, "format version 3"},
      {"unknown key", [](Json& j) { j["extra"] = 1; }, "does not know"},
      {"no state", [](Json& j) { j.erase("state"); }, "lacks 'state'"},
      {"negative step", [](Json& j) { j["state"]["step"] = -1; }, "'step'"},
      {"fractional step", [](Json& j) { j["state"]["step"] = 1.5; }, "'step'"},
      {"step as text", [](Json& j) { j["state"]["step"] = "5"; }, "'step'"},
      {"unknown state", [](Json& j) { j["state"]["x"] = 1; }, "does not know"},
      {"no provenance", [](Json& j) { j["state"].erase("provenance"); }, "lacks 'provenance'"},
      {"negative alpha", [](Json& j) { j["state"]["provenance"]["neftune_alpha"] = -1; }, "'neftune_alpha'"},
      {"unknown provenance", [](Json& j) { j["state"]["provenance"]["x"] = 1; }, "does not know"},
      {"provenance of version 1", [](Json& j) { j["version"] = 1; }, "does not know"},
      {"ledger is a list", [](Json& j) { j["state"]["ledger"] = Json::array(); }, "ledger"},
      {"files is an object", [](Json& j) { j["files"] = Json::object(); }, "not a list"},
      {"path upwards", [](Json& j) { j["files"][0]["name"] = "../rank_00000.h5"; }, "bad file name"},
      {"absolute path", [](Json& j) { j["files"][0]["name"] = "/etc/passwd"; }, "bad file name"},
      {"hidden upwards", [](Json& j) { j["files"][1]["name"] = "tokenizer/../x"; }, "bad file name"},
      {"dot dot", [](Json& j) { j["files"][1]["name"] = "tokenizer/.."; }, "bad file name"},
      {"lists itself", [](Json& j) { j["files"][0]["name"] = "manifest.json"; }, "bad file name"},
      {"same file twice", [](Json& j) { j["files"][1]["name"] = "rank_00000.h5"; }, "twice"},
      {"short sum", [](Json& j) { j["files"][0]["sha256"] = "abc"; }, "SHA-256"},
      {"unknown dtype", [](Json& j) { j["tensors"][0]["dtype"] = "fp8"; }, "fp8"},
      {"file index", [](Json& j) { j["tensors"][0]["pieces"][0]["file"] = 2; }, "'file'"},
      {"beyond its file", [](Json& j) { j["tensors"][0]["pieces"][0]["at"] = 980; }, "beyond the end"},
      {"offset overflow", [](Json& j) { j["tensors"][0]["pieces"][0]["at"] = ~0ULL; }, "'at'"},
      {"shape overflow",
       [](Json& j) {
         j["tensors"][0]["shape"] = {1LL << 40, 1LL << 40};
       },
       "too large"},
      {"beyond the tensor",
       [](Json& j) {
         j["tensors"][0]["pieces"][1]["offset"] = {3, 0};
       },
       "beyond the tensor"},
      {"other dims", [](Json& j) { j["tensors"][0]["pieces"][1]["offset"] = {2}; }, "dims"},
      {"nine dims", [](Json& j) { j["tensors"][0]["shape"] = {1, 1, 1, 1, 1, 1, 1, 1, 1}; }, "more than 8"},
      {"hole", [](Json& j) { j["tensors"][0]["pieces"].erase(1); }, "hold 6 of 12"},
      {"overlap",
       [](Json& j) {
         j["tensors"][0]["pieces"][1]["offset"] = {1, 0};
       },
       "overlap"},
      {"no pieces of a scalar", [](Json& j) { j["tensors"][1]["pieces"] = Json::array(); }, "hold 0 of 1"},
      {"same tensor twice", [](Json& j) { j["tensors"].push_back(j["tensors"][1]); }, "order"},
      {"an array", [](Json& j) { j["tensors"][0] = Json::array(); }, "not an object"}};
  for (const auto& c : changes) {
    try {
      parse_manifest(changed(c.change), "manifest.json");
      ADD_FAILURE() << c.what << " was accepted";
    } catch (const CheckpointError& error) {
      EXPECT_THAT(error.what(), HasSubstr("manifest.json")) << c.what;
      EXPECT_THAT(error.what(), HasSubstr(c.message)) << c.what;
    }
  }
  std::string deep(100'000, '[');
  for (const std::string& text : {std::string(), std::string("null"), std::string("[]"), std::string("{"), deep,
                                  std::string("{\"a\":1,\"a\":2}"), std::string("\xEF\xBB\xBF{}")})
    EXPECT_THROW(parse_manifest(text, "manifest.json"), CheckpointError) << text.substr(0, 20);
}

TEST(HostileManifest, EveryFlippedBitIsRefusedOrHarmless) {
  const std::string text = manifest_text(sound_manifest());
  for (std::size_t at = 0; at < text.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string flipped = text;
      flipped[at] = static_cast<char>(flipped[at] ^ (1 << bit));
      try {  // white space may become other white space; what is read must then be the same
        EXPECT_EQ(manifest_text(parse_manifest(flipped, "m")), text) << "byte " << at << " bit " << bit;
      } catch (const CheckpointError&) {
      }
    }
  }
}

}  // namespace
}  // namespace osler::checkpoint
