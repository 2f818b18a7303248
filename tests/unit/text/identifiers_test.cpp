#include "text/identifiers.hpp"

#include <gtest/gtest.h>

#include <chrono>

namespace osler::text {
namespace {

std::string masked(const std::string& text) {
  return mask_identifiers(text, find_identifiers(text));
}

TEST(Identifiers, AreFoundAndMasked) {
  const std::vector<std::pair<std::string, std::string>> table = {
      {"seen on 3/5/2024.", "seen on [DATE]."},
      {"seen 03/05/24, then", "seen [DATE], then"},
      {"2024-03-05T10:00", "[DATE]T10:00"},
      {"am 5.3.2024 in", "am [DATE] in"},
      {"05-Mar-2024", "[DATE]"},
      {"the 5th of March 2024", "the [DATE]"},
      {"12 March", "[DATE]"},
      {"March 5, 2024 and Sept. 7th", "[DATE] and [DATE]"},
      {"in JANUARY 2019", "in [DATE]"},
      {"call (415) 555-2671 now", "call [PHONE] now"},
      {"415-555-2671", "[PHONE]"},
      {"415\xE2\x80\x91"
       "555\xE2\x80\x91"
       "2671",
       "[PHONE]"},
      {"+1 415 555 2671", "[PHONE]"},
      {"+44 20 7946 0958.", "[PHONE]."},
      {"Tel.: 7946 0958", "Tel.: [PHONE]"},
      {"fax 555-2671", "fax [PHONE]"},
      {"MRN: 00123456,", "MRN: [RECORD],"},
      {"Medical record number is AB-12345", "Medical record number is [RECORD]"},
      {"NHS number 943 476 5919", "NHS number [RECORD]"},
      {"mail john.doe+x@st-mary.example.org.", "mail [EMAIL]."},
      {"<a@b.co>", "<[EMAIL]>"},
      {"123-45-6789", "[ID]"},
      {"SSN 123456789", "SSN [ID]"},
      {"Dr. Jane O\xE2\x80\x99"
       "Brien said",
       "Dr. [NAME] said"},
      {"Mr Smith-Jones and Mrs. J. R. Ewing", "Mr [NAME] and Mrs. [NAME]"},
      {"Prof. \xC3\x85sa van der Berg, who", "Prof. [NAME], who"},
      {"DR. SMITH", "DR. [NAME]"},
      {"Mr. and Mrs. Smith", "Mr. and Mrs. [NAME]"},
  };
  for (const auto& [text, expected] : table) EXPECT_EQ(masked(text), expected) << text;
}

TEST(Identifiers, LeaveMedicineAlone) {
  for (const std::string text : {"",
                                 "BP 120/80 mmHg",
                                 "10/12 patients",
                                 "3.5-5.0 mmol/L",
                                 "1/2/3",
                                 "13/13/2024",
                                 "2024-13-40",
                                 "5.10.20",
                                 "in 2019",
                                 "may 10 patients",
                                 "they march 5 km",
                                 "May rise to 5%",
                                 "May 5% of",
                                 "pH 7.35-7.45",
                                 "ratio 100-2000-3000",
                                 "200 300 400 mg",
                                 "MR imaging",
                                 "MS Relapse",
                                 "DR screening",
                                 "the Dr. He left",
                                 "Dr. no",
                                 "Ms of data",
                                 "000-12-3456",
                                 "666-12-3456",
                                 "123-45-67890",
                                 "x123-45-6789",
                                 "mrn none",
                                 "MRN 12",
                                 "record high",
                                 "user@host",
                                 "@home",
                                 "a@.com",
                                 "phone 5",
                                 "call 911",
                                 "10.1016/j.cell.2020.01.001",
                                 "12345678901234567890",
                                 "\xE5\x8C\xBB\xE7\x94\x9F 5",
                                 "ICD-10 E11.9",
                                 "1-800",
                                 "doi:10.1000/182",
                                 "Drosophila Melanogaster",
                                 "Mister Smith"})
    EXPECT_EQ(masked(text), text);
}

TEST(Identifiers, StandAtBytesBetweenCharacters) {
  const std::string text = "\xC3\xA9 Dr. \xC3\x89mile\xC3\xA9 123-45-6789";
  const std::vector<IdentifierMatch> expected{{Identifier::name, 7, 15}, {Identifier::id, 16, 27}};
  EXPECT_EQ(find_identifiers(text), expected);
}

/// Each would take minutes if an attempt could run on to the end of the text.
TEST(Identifiers, HostileTextTakesLinearTime) {
  for (const std::string piece : {"1-", "+1", "(", "@", "a@", "a.", "Dr. ", "Dr. A", "MRN:", "MRN 1 ", "1/1/", "March ",
                                  "9 ", "Dr. van ", "tel. 1-", "A", "1", "\xC3\xA9"}) {
    std::string text;
    while (text.size() < 1'000'000) text += piece;
    const auto begin = std::chrono::steady_clock::now();
    find_identifiers(text);
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10)) << piece;
  }
}

}  // namespace
}  // namespace osler::text
