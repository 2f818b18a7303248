#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/clock.hpp"
#include "base/dtype.hpp"
#include "base/error.hpp"
#include "base/log.hpp"

namespace osler {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;
using testing::ThrowsMessage;

TEST(Errors, CarryTheExitCodeOfTheirKind) {
  const auto code_of = [](auto throwing) {
    try {
      throwing();
    } catch (const Error& error) {
      return static_cast<int>(error.code());
    }
    return -1;
  };
  EXPECT_EQ(code_of([] { throw ConfigError("x"); }), 2);
  EXPECT_EQ(code_of([] { throw DataError("x"); }), 3);
  EXPECT_EQ(code_of([] { throw CheckpointError("x"); }), 4);
  EXPECT_EQ(code_of([] { throw StorageError("x"); }), 5);
  EXPECT_EQ(code_of([] { throw NumericalError("x"); }), 6);
  EXPECT_EQ(code_of([] { throw CommError("x"); }), 7);
  EXPECT_EQ(code_of([] { OSLER_CHECK(1 == 2, "because ", 3); }), 8);
  EXPECT_THAT([] { OSLER_CHECK(1 == 2, "because ", 3); }, ThrowsMessage<InternalError>(HasSubstr("1 == 2 because 3")));
}

TEST(DTypes, RoundTripByNameAndRefuseOthers) {
  for (const auto& [name, bytes] : {std::pair{"bf16", 2u},
                                    {"fp16", 2u},
                                    {"fp32", 4u},
                                    {"fp64", 8u},
                                    {"u8", 1u},
                                    {"u16", 2u},
                                    {"u32", 4u},
                                    {"u64", 8u},
                                    {"i64", 8u}}) {
    EXPECT_EQ(name_of(dtype_from_name(name)), name);
    EXPECT_EQ(size_bytes(dtype_from_name(name)), bytes);
  }
  EXPECT_THAT([] { dtype_from_name("float8"); }, ThrowsMessage<DataError>(HasSubstr("float8")));
}

TEST(Clock, WritesTimesAsPeopleReadThem) {
  EXPECT_EQ(duration_text(0), "0s");
  EXPECT_EQ(duration_text(12.4), "12s");
  EXPECT_EQ(duration_text(59.7), "1m00s");
  EXPECT_EQ(duration_text(200), "3m20s");
  EXPECT_EQ(duration_text(2 * 3600 + 5 * 60), "2h05m");
  EXPECT_EQ(duration_text(3 * 86400 + 4 * 3600), "3d04h");
  EXPECT_EQ(duration_text(-1), "?");
  EXPECT_EQ(duration_text(std::numeric_limits<double>::quiet_NaN()), "?");
  EXPECT_EQ(duration_text(std::numeric_limits<double>::infinity()), "?");
  EXPECT_THAT(utc_timestamp(), MatchesRegex("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"));
  Stopwatch watch;
  EXPECT_GE(watch.restart(), 0);
  EXPECT_GE(watch.elapsed_s(), 0);
}

std::string logged() {
  testing::internal::CaptureStderr();
  log::info("step ", 5, " {braces} %s");
  log::warning("careful");
  log::error("broken");
  return testing::internal::GetCapturedStderr();
}

TEST(Log, SpeaksOnceAndNamesTheRankOnlyWhereThereAreSeveral) {
  log::set_identity(0, 1, "rank 0/1");
  const std::string alone = logged();
  EXPECT_THAT(alone, HasSubstr(" info: step 5 {braces} %s\n"));
  EXPECT_THAT(alone, HasSubstr(" warning: careful\n"));
  EXPECT_THAT(alone, HasSubstr(" error: broken\n"));
  log::set_identity(3, 4, "rank 3/4 host");
  const std::string third = logged();
  EXPECT_EQ(log::rank(), 3);
  EXPECT_THAT(third, testing::Not(HasSubstr("info")));
  EXPECT_THAT(third, HasSubstr(" warning: [rank 3/4 host] careful\n"));
  EXPECT_THAT(third, HasSubstr(" error: [rank 3/4 host] broken\n"));
  log::set_identity(0, 4, "rank 0/4 host");
  EXPECT_THAT(logged(), HasSubstr(" info: step 5"));
  log::set_identity(0, 1, "");
}

}  // namespace
}  // namespace osler
