#include "base/folder_owner.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <regex>
#include <thread>

#include "base/error.hpp"
#include "support/temporary_folder.hpp"

namespace osler {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

constexpr double kSilence_s = 1.5;

class FolderOwnerTest : public testing::Test {
 protected:
  std::string path() const { return folder() + "/.owner"; }
  std::string folder() const { return folder_.path() + "/run"; }

  std::string content() const {
    std::ifstream file(path());
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void write(const std::string& text) const {
    fs::create_directories(folder());
    std::ofstream(path(), std::ios::trunc) << text;
  }
  /// What an owner of this process would write, with other facts.
  std::string facts(const std::vector<std::pair<std::string, std::string>>& changes) const {
    std::string text;
    {
      const FolderOwner owner("run.dir", folder(), kSilence_s);
      text = content();
    }
    for (const auto& [fact, value] : changes)
      text = std::regex_replace(text, std::regex(fact + " [^\n]*"), fact + " " + value);
    return text;
  }
  std::string refusal() const {
    try {
      const FolderOwner owner("run.dir", folder(), kSilence_s);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "";
  }
  double seconds_to_claim() const {
    const auto begin = std::chrono::steady_clock::now();
    const FolderOwner owner("run.dir", folder(), kSilence_s);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }

  tests::TemporaryFolder folder_;
};

TEST_F(FolderOwnerTest, ALivingOwnerIsNamedAndKept) {
  const FolderOwner owner("run.dir", folder(), kSilence_s);
  const std::string mine = content();
  EXPECT_THAT(refusal(), HasSubstr(folder()));
  EXPECT_THAT(refusal(), HasSubstr("process " + std::to_string(::getpid())));
  EXPECT_EQ(content(), mine);
  EXPECT_NO_THROW(owner.require_ours());
}

TEST_F(FolderOwnerTest, GivesTheFolderUpAtItsEnd) {
  { const FolderOwner owner("run.dir", folder(), kSilence_s); }
  EXPECT_FALSE(fs::exists(path()));
  EXPECT_EQ(refusal(), "");
  EXPECT_TRUE(fs::is_empty(folder()));
}

TEST_F(FolderOwnerTest, AKilledProcessOfThisMachineIsDeadAtOnce) {
  const pid_t child = ::fork();
  if (child == 0) {
    const FolderOwner owner("run.dir", folder(), kSilence_s);
    ::raise(SIGKILL);
  }
  ::waitpid(child, nullptr, 0);
  ASSERT_THAT(content(), HasSubstr("process " + std::to_string(child)));
  EXPECT_LT(seconds_to_claim(), kSilence_s / 2);
}

TEST_F(FolderOwnerTest, AProcessNumberThatWasUsedAgainIsNotTheOwner) {
  write(facts({{"started", "1"}}));
  EXPECT_LT(seconds_to_claim(), kSilence_s / 2);
}

TEST_F(FolderOwnerTest, AnOwnerElsewhereIsDeadAfterItsSilence) {
  write(facts({{"table", "another machine"}, {"host", "node07"}}));
  EXPECT_GE(seconds_to_claim(), kSilence_s * 0.9);
}

TEST_F(FolderOwnerTest, AnOwnerElsewhereThatHasLongBeenSilentIsDeadAtOnce) {
  write(facts({{"table", "another machine"}}));
  const struct timespec old[2] = {{1'000'000'000, 0}, {1'000'000'000, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, path().c_str(), old, 0), 0);
  EXPECT_LT(seconds_to_claim(), kSilence_s / 2);
}

TEST_F(FolderOwnerTest, AnOwnerElsewhereThatGivesASignLives) {
  write(facts({{"table", "another machine"}, {"host", "node07"}}));
  std::thread toucher([this] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    ::utimensat(AT_FDCWD, path().c_str(), nullptr, 0);
  });
  EXPECT_THAT(refusal(), HasSubstr("on node07"));
  toucher.join();
}

TEST_F(FolderOwnerTest, AnEarlierStartOfTheSameSlurmJobIsDeadAtOnce) {
  ::setenv("SLURM_JOB_ID", "77", 1);
  ::setenv("SLURM_RESTART_COUNT", "1", 1);
  write(facts({{"table", "another machine"}, {"restarts", "0"}}));
  EXPECT_LT(seconds_to_claim(), kSilence_s / 2);
  // Not another step of the same start.
  write(facts({{"table", "another machine"}, {"restarts", "1"}}));
  EXPECT_GE(seconds_to_claim(), kSilence_s * 0.9);
  ::unsetenv("SLURM_JOB_ID");
  ::unsetenv("SLURM_RESTART_COUNT");
}

TEST_F(FolderOwnerTest, OneThatWasTakenOverSaysSoAndLeavesTheFolderAlone) {
  const std::string other = facts({{"host", "node07"}});
  {
    const FolderOwner owner("run.dir", folder(), kSilence_s);
    write(other);
    try {
      owner.require_ours();
      FAIL() << "nothing was said";
    } catch (const ConfigError& error) {
      EXPECT_THAT(error.what(), HasSubstr("taken over by another job"));
      EXPECT_THAT(error.what(), HasSubstr("on node07"));
    }
  }
  EXPECT_EQ(content(), other);
}

TEST_F(FolderOwnerTest, GivesSigns) {
  const FolderOwner owner("run.dir", folder(), kSilence_s);
  const auto first = fs::last_write_time(path());
  std::this_thread::sleep_for(std::chrono::duration<double>(kSilence_s));
  EXPECT_GT(fs::last_write_time(path()), first);
}

}  // namespace
}  // namespace osler
