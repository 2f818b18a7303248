#include "eval/csv.hpp"

#include <gtest/gtest.h>

#include "base/error.hpp"

namespace osler::eval {
namespace {

TEST(Csv, ReadsQuotedFieldsWithCommasBreaksAndDoubledQuotes) {
  const auto rows = parse_csv("a,\"b,c\",\"d\"\"e\"\r\n\n\"x\ny\",,z\nlast", "f.csv");
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].fields, (std::vector<std::string>{"a", "b,c", "d\"e"}));
  EXPECT_EQ(rows[1].fields, (std::vector<std::string>{"x\ny", "", "z"}));
  EXPECT_EQ(rows[2].fields, (std::vector<std::string>{"last"}));
  EXPECT_EQ(rows[0].line, 1);
  EXPECT_EQ(rows[1].line, 3);
  EXPECT_EQ(rows[2].line, 5);  // the quoted line break counts
}

TEST(Csv, NamesTheLineOfWhatIsWrong) {
  struct Case {
    const char* text;
    const char* where;
  };
  for (const Case& c : {Case{"a,b\nc\"d,e\n", "f.csv:2: a quote inside"}, Case{"a\n\"b\" c,d\n", "f.csv:2: text after"},
                        Case{"a\n\nb,\"c\nd\n", "f.csv:3: a quoted field is never closed"}}) {
    try {
      parse_csv(c.text, "f.csv");
      ADD_FAILURE() << c.where;
    } catch (const DataError& error) {
      EXPECT_NE(std::string(error.what()).find(c.where), std::string::npos) << error.what();
    }
  }
}

TEST(Csv, WritesWhatItReads) {
  for (const std::string value : {"plain", "a,b", "say \"x\"", "two\nlines", ""}) {
    const auto rows = parse_csv("first," + csv_field(value), "f.csv");
    ASSERT_EQ(rows.size(), 1u);
    EXPECT_EQ(rows[0].fields, (std::vector<std::string>{"first", value}));
  }
}

}  // namespace
}  // namespace osler::eval
