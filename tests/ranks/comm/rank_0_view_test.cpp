// A file that other ranks see late is waited for, for a bounded time, and only where rank 0 sees it. Each rank looks
// through links of its own, so that what one sees another may not.
#include "comm/rank_0_view.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "base/error.hpp"
#include "base/visibility.hpp"
#include "support/ranks_world.hpp"
#include "support/temporary_folder.hpp"

namespace osler::comm {
namespace {

namespace fs = std::filesystem;

Group& group() {
  return tests::world().host();
}

/// One absolute path on all ranks that each sees at another time: /proc/self/cwd/NAME in folders of their own.
class Rank0View : public testing::Test {
 protected:
  Rank0View() : before_(fs::current_path()) { fs::current_path(folder_.path()); }
  ~Rank0View() override {
    fs::current_path(before_);
    set_visible_within(90);
  }
  static std::string path() { return "/proc/self/cwd/late"; }

  tests::TemporaryFolder folder_;
  fs::path before_;
};

TEST_F(Rank0View, ListsAreThoseOfRank0) {
  const std::vector<std::string> list{"a b", "", "with\nline", std::to_string(group().rank())};
  EXPECT_EQ(broadcast_list(group(), list), (std::vector<std::string>{"a b", "", "with\nline", "0"}));
  EXPECT_TRUE(broadcast_list(group(), {}).empty());
}

TEST_F(Rank0View, WaitsForWhatShowsLate) {
  std::thread writer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200 * group().rank()));
    folder_.write("late", "x");
  });
  if (group().rank() == 0) writer.join();
  wait_for_files(group(), {path()});
  EXPECT_TRUE(fs::exists(path()));
  if (writer.joinable()) writer.join();
}

TEST_F(Rank0View, GivesUpTogetherInTime) {
  set_visible_within(0.3);
  if (group().rank() == 0) folder_.write("late", "x");
  if (group().size() == 1) return wait_for_files(group(), {path()});
  const auto begin = std::chrono::steady_clock::now();
  const std::string message = tests::message_of<StorageError>([&] { wait_for_files(group(), {path()}); });
  EXPECT_THAT(message, testing::HasSubstr("'" + path() + "', which rank 0 sees, is not visible here after 0.3 s"));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(60));
}

}  // namespace
}  // namespace osler::comm
