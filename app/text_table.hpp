// Aligned columns for people, on stdout.
#pragma once

#include <string>
#include <vector>

namespace osler::app {

class TextTable {
 public:
  explicit TextTable(std::vector<std::string> header) : rows_{std::move(header)} {}
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  /// Columns that hold numbers only are set flush right.
  std::string text() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

/// "1,234,567"
std::string grouped(std::int64_t number);
/// "14.5 GB", decimal units
std::string bytes_text(std::uint64_t bytes);

}  // namespace osler::app
