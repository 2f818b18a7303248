#include "eval/csv.hpp"

#include "base/error.hpp"

namespace osler::eval {

namespace {

class CsvReader {
 public:
  CsvReader(std::string_view text, const std::string& origin) : text_(text), origin_(origin) {}

  std::vector<CsvRow> rows() {
    std::vector<CsvRow> rows;
    while (at_ < text_.size()) {
      if (ends_line()) {
        skip_line_end();
        continue;
      }
      rows.push_back(row());
    }
    return rows;
  }

 private:
  bool ends_line() const { return at_ >= text_.size() || text_[at_] == '\n' || text_.substr(at_, 2) == "\r\n"; }
  void skip_line_end() {
    at_ += at_ < text_.size() && text_[at_] == '\r' ? 2 : 1;
    ++line_;
  }
  [[noreturn]] void fail(std::int64_t line, const std::string& what) const {
    throw DataError(origin_, ":", line, ": ", what, "; quote fields as in RFC 4180");
  }

  CsvRow row() {
    CsvRow row{line_, {}};
    for (;;) {
      row.fields.push_back(at_ < text_.size() && text_[at_] == '"' ? quoted() : plain());
      if (ends_line()) break;
      ++at_;  // the comma
    }
    skip_line_end();
    return row;
  }

  std::string plain() {
    const std::size_t begin = at_;
    while (!ends_line() && text_[at_] != ',') {
      if (text_[at_] == '"') fail(line_, "a quote inside an unquoted field");
      ++at_;
    }
    return std::string(text_.substr(begin, at_ - begin));
  }

  std::string quoted() {
    const std::int64_t opened = line_;
    std::string field;
    for (++at_;; ++at_) {
      if (at_ >= text_.size()) fail(opened, "a quoted field is never closed");
      if (text_[at_] == '\n') ++line_;
      if (text_[at_] != '"') {
        field += text_[at_];
      } else if (text_.substr(at_, 2) == "\"\"") {
        field += '"';
        ++at_;
      } else {
        break;
      }
    }
    ++at_;
    if (!ends_line() && text_[at_] != ',') fail(line_, "text after a closing quote");
    return field;
  }

  std::string_view text_;
  const std::string& origin_;
  std::size_t at_ = 0;
  std::int64_t line_ = 1;
};

}  // namespace

std::vector<CsvRow> parse_csv(std::string_view text, const std::string& origin) {
  return CsvReader(text, origin).rows();
}

std::string csv_field(std::string_view value) {
  if (value.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(value);
  std::string quoted = "\"";
  for (const char c : value) {
    if (c == '"') quoted += '"';
    quoted += c;
  }
  return quoted + '"';
}

}  // namespace osler::eval
