#include "text/document_reader.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include <filesystem>

#include "base/error.hpp"
#include "support/temporary_folder.hpp"
#include "text/utf8.hpp"

namespace osler::text {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using tests::message_of;
using tests::TemporaryFolder;

std::string gzip(const std::string& text) {
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, text.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string zstd(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

struct Reading {
  std::vector<Document> documents;
  std::vector<Problem> problems;
  std::int64_t lines = 0;
};

Reading read_all(const std::string& path, const std::string& field = "text", const ReaderOptions& options = {}) {
  Reading reading;
  DocumentReader reader(
      path, "src", field, [&](const Problem& problem) { reading.problems.push_back(problem); }, options);
  while (auto document = reader.next()) reading.documents.push_back(std::move(*document));
  EXPECT_FALSE(reader.next().has_value());
  reading.lines = reader.lines_read();
  return reading;
}

std::vector<std::string> texts_of(const Reading& reading) {
  std::vector<std::string> texts;
  for (const Document& document : reading.documents) texts.push_back(document.text);
  return texts;
}

std::string nested(int depth) {
  return R"({"text": "SECRET", "x": )" + std::string(static_cast<std::size_t>(depth), '[') +
         std::string(static_cast<std::size_t>(depth), ']') + "}";
}

TEST(DocumentReader, NamesEveryBadLine) {
  struct Case {
    std::string line;
    DropReason reason;
    std::string detail;
  };
  const std::vector<Case> cases = {
      {R"({"text": "SECRET)", DropReason::bad_json, "byte"},
      {R"({"text": "SECRET"} trailing)", DropReason::bad_json, "byte"},
      {R"({"text": "SECRET",})", DropReason::bad_json, "byte"},
      {R"({'text': 'SECRET'})", DropReason::bad_json, "byte"},
      {R"(["SECRET"])", DropReason::bad_json, "not a JSON object"},
      {R"("SECRET")", DropReason::bad_json, "not a JSON object"},
      {"17", DropReason::bad_json, "not a JSON object"},
      {"null", DropReason::bad_json, "not a JSON object"},
      {R"({"text": "SECRET", "text": "SECRET"})", DropReason::bad_json, "twice"},
      {R"({"text": "SECRET", "m": {"k": 1, "k": 2}})", DropReason::bad_json, "twice"},
      {R"({"text": "SECRET \ud800 alone"})", DropReason::bad_json, "byte"},
      {R"({"text": "SECRET", "x": NaN})", DropReason::bad_json, "byte"},
      {nested(64), DropReason::bad_json, "deeper"},
      {nested(200'000), DropReason::bad_json, "deeper"},
      {"{\"text\": \"SECRET \xFF\"}", DropReason::bad_utf8, "byte 18"},
      {"{\"text\": \"SECRET \xED\xA0\x80\"}", DropReason::bad_utf8, "byte 18"},
      {"{\"text\": \"SECRET \xC0\xAF\"}", DropReason::bad_utf8, "byte 18"},
      {"{\"text\": \"SECRET \xE2\x82", DropReason::bad_utf8, "byte 18"},
      {R"({"body": "SECRET"})", DropReason::missing_field, "'text'"},
      {"{}", DropReason::missing_field, "'text'"},
      {R"({"text": null})", DropReason::missing_field, "null"},
      {R"({"text": 5})", DropReason::missing_field, "a number"},
      {R"({"text": ["SECRET"]})", DropReason::missing_field, "an array"},
      {R"({"text": {"text": "SECRET"}})", DropReason::missing_field, "an object"},
      {R"({"x": {"text": "SECRET"}})", DropReason::missing_field, "'text'"},
      {R"({"text": ""})", DropReason::empty, "empty"},
      {"{\"text\": \" \\n\\u00a0\\ufeff\"}", DropReason::empty, "empty"},
  };
  std::string file = "{\"text\": \"first\"}\n\n";
  for (const Case& bad : cases) file += bad.line + "\n";
  file += R"({"text": "last", "id": 7})";  // no newline at the end
  const TemporaryFolder folder;
  const std::string path = folder.write("bad.jsonl", file);
  const Reading reading = read_all(path);
  EXPECT_THAT(texts_of(reading), ElementsAre("first", "last"));
  EXPECT_EQ(reading.documents.front().id, path + ":1");
  EXPECT_EQ(reading.documents.back().id, "7");
  ASSERT_EQ(reading.problems.size(), cases.size());
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const Problem& problem = reading.problems[i];
    EXPECT_EQ(problem.file, path);
    EXPECT_EQ(problem.line, static_cast<std::int64_t>(i) + 3);
    EXPECT_STREQ(name_of(problem.reason), name_of(cases[i].reason))
        << cases[i].line.substr(0, 60) << ": " << problem.detail;
    EXPECT_THAT(problem.detail, HasSubstr(cases[i].detail)) << cases[i].line.substr(0, 60);
    EXPECT_EQ(problem.detail.find("SECRET"), std::string::npos) << "text of a document in: " << problem.detail;
  }
}

TEST(DocumentReader, AcceptsWhatIsOddButValid) {
  const TemporaryFolder folder;
  const std::string path = folder.write("odd.jsonl",
                                        "\xEF\xBB\xBF{\"text\": \"with mark\"}\r\n  {\"text\": \"nul \\u0000 pair "
                                        "\\ud83e\\ude7a\", \"x\": [1, {\"y\": null}]}\n" +
                                            nested(63) + "\n");
  EXPECT_THAT(texts_of(read_all(path)),
              ElementsAre("with mark", std::string("nul \0 pair \xF0\x9F\xA9\xBA", 15), "SECRET"));
  const std::string two = folder.write("two.jsonl", R"({"answer": "A", "question": "Q"})"
                                                    "\n"
                                                    R"({"question": "Q"})");
  const Reading reading = read_all(two, "question, answer");
  EXPECT_THAT(texts_of(reading), ElementsAre("Q\nA"));
  ASSERT_EQ(reading.problems.size(), 1U);
  EXPECT_THAT(reading.problems[0].detail, HasSubstr("'answer'"));
  EXPECT_THROW(read_all(two, "question,,answer"), ConfigError);
}

TEST(DocumentReader, LimitsRecords) {
  const TemporaryFolder folder;
  const std::string big(5000, 'x');
  const std::string path =
      folder.write("big.jsonl", "{\"text\": \"a\"}\n{\"text\": \"" + big + "\"}\n{\"text\": \"b\"}\n");
  const Reading reading = read_all(path, "text", {.max_record_bytes = 100});
  EXPECT_THAT(texts_of(reading), ElementsAre("a", "b"));
  ASSERT_EQ(reading.problems.size(), 1U);
  EXPECT_EQ(reading.problems[0].reason, DropReason::too_long);
  EXPECT_EQ(reading.problems[0].line, 2);
  const Reading whole = read_all(folder.write("big.txt.gz", gzip(big)), "text", {.max_record_bytes = 100});
  ASSERT_EQ(whole.problems.size(), 1U);
  EXPECT_EQ(whole.problems[0].reason, DropReason::too_long);
}

TEST(DocumentReader, ReadsArchivesAndWholeFiles) {
  const TemporaryFolder folder;
  std::string lines;
  for (int i = 0; i < 20'000; ++i) lines += "{\"text\": \"document number " + std::to_string(i) + "\"}\n";
  const std::string first = lines.substr(0, 300'001);
  const std::string second = lines.substr(300'001);
  const std::vector<std::string> expected = texts_of(read_all(folder.write("plain.jsonl", lines)));
  ASSERT_EQ(expected.size(), 20'000U);
  for (const auto& [name, bytes] :
       std::vector<std::pair<std::string, std::string>>{{"one.jsonl.gz", gzip(lines)},
                                                        {"two.jsonl.gz", gzip(first) + gzip(second)},
                                                        {"one.JSONL.ZST", zstd(lines)},
                                                        {"two.json.zst", zstd(first) + zstd(second)}}) {
    const Reading reading = read_all(folder.write(name, bytes));
    EXPECT_EQ(texts_of(reading), expected) << name;
    EXPECT_TRUE(reading.problems.empty()) << name;
  }
  EXPECT_THAT(texts_of(read_all(folder.write("note.md", "\xEF\xBB\xBF# Title\n\nBody\n"))),
              ElementsAre("# Title\n\nBody\n"));
  EXPECT_THAT(texts_of(read_all(folder.write("note.txt.zst", zstd("Body")))), ElementsAre("Body"));
}

TEST(DocumentReader, NamesDamagedAndEmptyFiles) {
  const TemporaryFolder folder;
  std::string lines;
  for (int i = 0; i < 20'000; ++i)
    lines += "{\"text\": \"document number " + std::to_string(i * 7919 % 20'011) + "\"}\n";
  std::string flipped = gzip(lines);
  flipped[flipped.size() - 6] ^= 1;  // inside the sum
  struct Case {
    std::string name;
    std::string bytes;
    DropReason reason;
  };
  const std::vector<Case> cases = {{"cut.jsonl.gz", gzip(lines).substr(0, 9000), DropReason::corrupt},
                                   {"cut.jsonl.zst", zstd(lines).substr(0, 9000), DropReason::corrupt},
                                   {"flip.jsonl.gz", flipped, DropReason::corrupt},
                                   {"plain.jsonl.gz", lines, DropReason::corrupt},
                                   {"plain.txt.zst", lines, DropReason::corrupt},
                                   {"cut.txt.gz", gzip(lines).substr(0, 9000), DropReason::corrupt},
                                   {"tail.txt.gz", gzip(lines) + "tail", DropReason::corrupt},
                                   {"zero.jsonl.gz", "", DropReason::corrupt},
                                   {"zero.jsonl", "", DropReason::empty},
                                   {"blank.jsonl", "\n\n  \n", DropReason::empty},
                                   {"zero.txt", "", DropReason::empty},
                                   {"blank.md", " \n\t\n", DropReason::empty},
                                   {"latin.txt", "caf\xE9\n", DropReason::bad_utf8}};
  for (const Case& bad : cases) {
    const std::string path = folder.write(bad.name, bad.bytes);
    const Reading reading = read_all(path);
    ASSERT_EQ(reading.problems.size(), 1U) << bad.name;
    EXPECT_STREQ(name_of(reading.problems[0].reason), name_of(bad.reason)) << bad.name;
    EXPECT_EQ(reading.problems[0].file, path);
    for (const Document& document : reading.documents) EXPECT_THAT(document.text, HasSubstr("document number "));
    EXPECT_TRUE(reading.documents.empty() || bad.name.find("jsonl") != std::string::npos) << bad.name;
  }
  const Reading cut = read_all(folder / "cut.jsonl.gz");
  EXPECT_GT(cut.documents.size(), 10U);
  EXPECT_EQ(cut.problems[0].line, static_cast<std::int64_t>(cut.documents.size()) + 1);
}

/// Wherever a file is cut, every record is read exactly once.
TEST(DocumentReader, PartsCoverTheFileOnce) {
  const TemporaryFolder folder;
  const std::string file = "{\"text\": \"a\"}\n\n{\"text\": \"bb\"}\nbroken\n{\"text\": \"ccc\"}";
  const std::string path = folder.write("parts.jsonl", file);
  for (std::uint64_t cut = 0; cut <= file.size(); ++cut) {
    const Reading first = read_all(path, "text", {.begin = 0, .end = cut});
    const Reading second = read_all(path, "text", {.begin = cut, .first_line = first.lines + 1});
    std::vector<std::string> texts = texts_of(first);
    for (const std::string& text : texts_of(second)) texts.push_back(text);
    EXPECT_THAT(texts, ElementsAre("a", "bb", "ccc")) << "cut at " << cut;
    EXPECT_EQ(first.lines + second.lines, 5) << "cut at " << cut;
    ASSERT_EQ(first.problems.size() + second.problems.size(), 1U) << "cut at " << cut;
    EXPECT_EQ((first.problems.empty() ? second : first).problems[0].line, 4) << "cut at " << cut;
  }
}

TEST(DocumentReader, StopsWhenTheCallerThrows) {
  const TemporaryFolder folder;
  const std::string path = folder.write("bad.jsonl", "oops\n{\"text\": \"a\"}\n");
  DocumentReader reader(path, "src", "text", [](const Problem&) { throw DataError("stop here"); });
  EXPECT_THROW(reader.next(), DataError);
}

TEST(ExpandInput, TakesFilesFoldersAndGlobs) {
  const TemporaryFolder folder;
  for (const char* name : {"b.jsonl", "a.txt.gz", "sub/c.md", "sub/.hidden.txt", ".git/d.txt", "e.csv", "UP.JSONL"})
    folder.write(name, "x");
  EXPECT_THAT(expand_input(folder.path()),
              ElementsAre(folder / "UP.JSONL", folder / "a.txt.gz", folder / "b.jsonl", folder / "sub/c.md"));
  EXPECT_THAT(expand_input(folder / "*.jsonl"), ElementsAre(folder / "b.jsonl"));
  EXPECT_THAT(expand_input(folder / "b.jsonl"), ElementsAre(folder / "b.jsonl"));
  std::filesystem::create_directory(folder / "none");
  for (const char* bad : {"absent.jsonl", "*.zip", "e.csv", "none"}) {
    EXPECT_THAT(message_of<DataError>([&] { expand_input(folder / bad); }), HasSubstr(folder / bad));
  }
}

TEST(Utf8, FindsTheFirstBadByte) {
  const std::string padding(13, 'x');
  const std::vector<std::string> good = {
      "", "\x7F", "\xC2\x80", "\xE0\xA0\x80", "\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"};
  for (const std::string& text : good) EXPECT_EQ(find_bad_utf8(padding + text + padding), std::string::npos);
  const std::vector<std::string> bad = {"\x80",
                                        "\xBF",
                                        "\xC0\x80",
                                        "\xC1\xBF",
                                        "\xC2",
                                        "\xE0\x9F\xBF",
                                        "\xED\xA0\x80",
                                        "\xED\xBF\xBF",
                                        "\xE2\x82",
                                        "\xF0\x8F\xBF\xBF",
                                        "\xF4\x90\x80\x80",
                                        "\xF5\x80\x80\x80",
                                        "\xFE",
                                        "\xFF"};
  for (const std::string& text : bad) {
    EXPECT_EQ(find_bad_utf8(padding + text + padding), padding.size());
    EXPECT_EQ(find_bad_utf8(padding + text), padding.size());
  }
  EXPECT_TRUE(is_blank("\xE3\x80\x80 \xC2\xA0\n"));
  EXPECT_FALSE(is_blank(std::string(1, '\0')));
}

}  // namespace
}  // namespace osler::text
