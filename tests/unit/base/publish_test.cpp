#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <csignal>

#include "base/error.hpp"
#include "base/publish.hpp"
#include "base/sha256.hpp"

namespace osler {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

class Publish : public testing::Test {
 protected:
  Publish() {
    std::string name = (fs::temp_directory_path() / "osler_publish_XXXXXX").string();
    folder_ = mkdtemp(name.data());
  }
  ~Publish() override { fs::remove_all(folder_); }
  std::string at(const std::string& name) const { return folder_ + "/" + name; }
  static std::span<const std::byte> bytes(const std::string& text) { return std::as_bytes(std::span(text)); }
  std::string folder_;
};

TEST_F(Publish, WritesWholeFilesAndSumsThem) {
  std::string large(std::size_t{20} << 20, 'x');  // several chunks
  large.back() = 'y';
  EXPECT_EQ(write_file_synced(at("large"), bytes(large)), sha256_hex(large));
  EXPECT_EQ(read_file(at("large")), large);
  EXPECT_EQ(sha256_hex_of_file(at("large")), sha256_hex(large));
  EXPECT_EQ(write_file_synced(at("large"), bytes("")), sha256_hex(""));
  EXPECT_EQ(fs::file_size(at("large")), 0u);
}

TEST_F(Publish, ReplacesAFileAndLeavesNoTemporary) {
  publish_file(at("done"), "one");
  publish_file(at("done"), "two");
  EXPECT_EQ(read_file(at("done")), "two");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
}

TEST_F(Publish, AFailedWriteLeavesTheOldFileAndNothingElse) {
  publish_file(at("kept"), "old");
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit small{1000, before.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &small);
  EXPECT_THAT([&] { publish_file(at("kept"), std::string(5000, 'n')); },
              ThrowsMessage<StorageError>(AllOf(HasSubstr(at("kept")), HasSubstr("too large"), HasSubstr("ulimit"))));
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(read_file(at("kept")), "old");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
}

TEST_F(Publish, PublishesDirectoriesWithOrWithoutSlash) {
  make_directories(at("a/b/c/"));
  publish_file(at("a/b/c/file"), "text");
  publish_directory(at("a/b/c/"), at("final"));
  EXPECT_EQ(read_file(at("final/file")), "text");
  make_directories(at("second"));
  EXPECT_THAT([&] { publish_directory(at("second"), at("final")); },
              ThrowsMessage<StorageError>(AllOf(HasSubstr(at("final")), HasSubstr("move away"))));
  EXPECT_TRUE(fs::exists(at("second")));
}

TEST_F(Publish, ErrorsNameThePathAndTheReason) {
  publish_file(at("file"), "text");
  EXPECT_THAT([&] { read_file(at("absent")); },
              ThrowsMessage<StorageError>(AllOf(HasSubstr(at("absent")), HasSubstr("No such file"))));
  EXPECT_THAT([&] { read_file(folder_); }, ThrowsMessage<StorageError>(HasSubstr("directory")));
  EXPECT_THAT([&] { read_file(at("file"), 3); }, ThrowsMessage<DataError>(HasSubstr("more than 3 bytes")));
  EXPECT_EQ(read_file(at("file"), 4), "text");
  EXPECT_THAT([&] { make_directories(at("file/below")); }, ThrowsMessage<StorageError>(HasSubstr(at("file/below"))));
  EXPECT_THAT([&] { make_directories(at("file")); }, ThrowsMessage<StorageError>(HasSubstr(at("file"))));
  EXPECT_THROW(sync_directory(at("absent")), StorageError);
  EXPECT_THROW(sync_directory(at("file")), StorageError);
  EXPECT_THROW(sha256_hex_of_file(at("absent")), StorageError);
  EXPECT_THROW(sha256_hex_of_file(folder_), StorageError);
  try {
    write_file_synced(at("no/such/folder/x"), {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::storage);
  }
}

TEST_F(Publish, ProbesFoldersWithoutLeavingATrace) {
  require_writable_directory(at("new/folder"));
  EXPECT_TRUE(fs::is_empty(at("new/folder")));
  EXPECT_THROW(require_writable_directory("/proc/osler"), StorageError);
  EXPECT_GT(free_bytes(at("new/folder/that/does/not/exist")), 0u);
  EXPECT_GT(free_bytes("relative/and/absent"), 0u);
}

TEST(Sha256Test, AgreesWithThePublishedVectorsInAnyCut) {
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  Sha256 pieces;
  pieces.update("a");
  pieces.update("");
  pieces.update("bc");
  EXPECT_EQ(pieces.hex(), sha256_hex("abc"));
}

}  // namespace
}  // namespace osler
