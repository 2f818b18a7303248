// Comma-separated values by RFC 4180: quoted fields may hold commas, line breaks and doubled quotes. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace osler::eval {

struct CsvRow {
  std::int64_t line = 0;  ///< from 1: where the row starts
  std::vector<std::string> fields;
};

/// Rows of `text`; lines without any character are skipped. `origin` names the file in errors. Throws DataError with
/// file and line: a quote inside an unquoted field, text after a closing quote, a quote that is never closed.
std::vector<CsvRow> parse_csv(std::string_view text, const std::string& origin);

/// One field as it must be written: quoted only where it has to be.
std::string csv_field(std::string_view value);

}  // namespace osler::eval
