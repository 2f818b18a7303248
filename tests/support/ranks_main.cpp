// main() of tests that run under mpirun. Every rank runs every test; a failure on any rank fails the run on all. Rank 0
// prints progress, the others only their failures. A rank that waits for one that failed is ended by the alarm.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <string>

#include "support/ranks_world.hpp"

namespace osler::tests {
namespace {

comm::World* the_world = nullptr;
constexpr unsigned kTimeoutS = 240;  // below ctest's, so that mpirun takes all ranks down in order

/// Replaces the printer on ranks other than 0.
class FailurePrinter final : public testing::EmptyTestEventListener {
  void OnTestStart(const testing::TestInfo& test) override {
    test_ = std::string(test.test_suite_name()) + '.' + test.name();
  }
  /// GoogleTest holds its lock here: asking it for the current test would wait for ever.
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (result.passed() || result.skipped()) return;
    std::cerr << "[rank " << world().host().rank() << "] " << test_ << ' '
              << (result.file_name() ? result.file_name() : "") << ':' << result.line_number() << '\n'
              << result.message() << std::endl;
  }

  std::string test_;
};

int run() {
  const char* expected = std::getenv("OSLER_EXPECT_RANKS");
  if (expected != nullptr && world().host().size() != std::atoi(expected)) {
    std::cerr << "expected " << expected << " ranks, this process sees " << world().host().size() << std::endl;
    return 1;
  }
  if (world().host().rank() != 0) {
    auto& listeners = testing::UnitTest::GetInstance()->listeners();
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new FailurePrinter);
  }
  const auto failed = static_cast<std::int64_t>(RUN_ALL_TESTS());
  const bool any_failed = world().host().all_reduce_value(failed, comm::ReduceOp::max) != 0;
  if (any_failed && failed == 0)
    std::cerr << "[rank " << world().host().rank() << "] failed on another rank" << std::endl;
  return any_failed ? 1 : 0;
}

}  // namespace

comm::World& world() {
  return *the_world;
}

}  // namespace osler::tests

int main(int argc, char** argv) {
  alarm(osler::tests::kTimeoutS);
  testing::InitGoogleTest(&argc, argv);
  osler::comm::World world(argc, argv);
  osler::tests::the_world = &world;
  return osler::tests::run();
}
