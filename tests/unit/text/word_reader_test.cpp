#include "text/word_reader.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace osler::text {
namespace {

std::vector<WordHash> words_of(const std::string& text) {
  std::vector<WordHash> words;
  WordReader reader(text);
  WordHash word{};
  while (reader.next(word)) words.push_back(word);
  return words;
}

TEST(WordReader, ReadsFormattedTextsAlike) {
  const std::vector<std::pair<std::string, std::string>> equal = {
      {"", "  \n\t ... \xE2\x80\x94 "},
      {"A man, 45.", "a MAN 45"},
      {"mg/dL", "mg / dl"},
      {"patient's", "patient\xE2\x80\x99s"},
      {"patient's", "patients"},
      {"caf\xC3\xA9 x", "CAFE\xCC\x81 X"},  // composed or not
      {"\xEF\xAC\x81"
       "ne",
       "fine"},                            // ligature
      {"\xEF\xBC\xA1\xEF\xBC\x91", "a1"},  // full width
      {"stra\xC3\x9F"
       "e",
       "STRASSE"},
      {"in\xC2\xAD"
       "jury",
       "injury"},  // soft hyphen
      {"a\xC2\xA0"
       "b",
       "a b"},  // no-break space
      {"\xE2\x80\x9C"
       "a\xE2\x80\x9D",
       "\"a\""},
      {"\xE5\x8C\xBB\xE7\x94\x9F", "\xE5\x8C\xBB \xE7\x94\x9F"},  // ideographs are words
  };
  for (const auto& [left, right] : equal) EXPECT_EQ(words_of(left), words_of(right)) << left << " | " << right;
}

TEST(WordReader, KeepsDifferentWordsApart) {
  for (const auto& [left, right] : std::vector<std::pair<std::string, std::string>>{{"ab", "a b"},
                                                                                    {"a b", "b a"},
                                                                                    {"a", "a a"},
                                                                                    {"1", "2"},
                                                                                    {"resume", "r\xC3\xA9sum\xC3\xA9"},
                                                                                    {"a", "\xD0\xB0"}})
    EXPECT_NE(words_of(left), words_of(right)) << left << " | " << right;
  EXPECT_EQ(words_of("one two-three 4.5 d\xC3\xA9j\xC3\xA0 vu").size(), 7U);
}

}  // namespace
}  // namespace osler::text
