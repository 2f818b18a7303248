#include <algorithm>
#include <set>
#include <sstream>

#include <boost/program_options.hpp>

#include "base/error.hpp"
#include "base/publish.hpp"
#include "config/layers.hpp"

namespace osler::config {
namespace {

namespace po = boost::program_options;

constexpr std::uint64_t kMostIniBytes = 1 << 20;

std::string trimmed(const std::string& text) {
  const char* const blanks = " \t\r\n";
  const std::size_t first = text.find_first_not_of(blanks);
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

/// Boost reads INI without line numbers, cuts values at '#' without a word and stops at the first bad line. This pass
/// looks at the lines before Boost does: it reports what Boost would hide and passes the rest on.
class LineCheck {
 public:
  LineCheck(std::string path, const std::vector<std::string>& known_keys, Problems& problems)
      : path_(std::move(path)), problems_(problems) {
    for (const std::string& key : known_keys) sections_.insert(key.substr(0, key.find('.')));
  }

  void take(int number, const std::string& line) {
    const std::string text = trimmed(line);
    const std::string origin = path_ + ":" + std::to_string(number);
    if (text.empty() || text.front() == '#') return;
    if (text.front() == '[') {
      take_section(origin, text);
    } else if (text.front() == ';') {
      problems_.add(origin, "';' starts no comment here; use '#'");
    } else if (text.find('=') == std::string::npos || text.front() == '=') {
      problems_.add(origin, "'" + text + "' is neither [section] nor key = value");
    } else if (text.find('#') != std::string::npos) {
      problems_.add(
          origin, "'#' would cut this value short; put comments on lines of their own and rename paths that hold '#'");
    } else if (section_known_) {
      accept(text);
      origins_.push_back(origin);
    }
  }

  const std::string& accepted() const { return accepted_; }             ///< what Boost may see
  const std::vector<std::string>& origins() const { return origins_; }  ///< of its key = value lines, in order

 private:
  void take_section(const std::string& origin, std::string text) {
    text = trimmed(text.substr(0, text.find('#')));
    if (text.back() != ']') {
      problems_.add(origin, "'" + text + "' lacks the closing ']'");
      section_known_ = false;
      return;
    }
    const std::string name = trimmed(text.substr(1, text.size() - 2));
    section_known_ = sections_.count(name) > 0;
    if (section_known_) {
      accept("[" + name + "]");
      return;
    }
    const std::vector<std::string> known(sections_.begin(), sections_.end());
    const std::string near = nearest_name(name, known);
    problems_.add(origin,
                  "unknown section [" + name + "]; " +
                      (near.empty() ? "known are " + FieldList::joined(known, ", ") : "did you mean [" + near + "]?"));
  }
  void accept(const std::string& line) { accepted_ += line + "\n"; }

  std::string path_;
  Problems& problems_;
  std::set<std::string> sections_;
  std::string accepted_;
  std::vector<std::string> origins_;
  bool section_known_ = true;
};

}  // namespace

Layer read_ini(const std::string& path, const std::vector<std::string>& known_keys, Problems& problems) {
  std::string text;
  try {
    text = read_file(path, kMostIniBytes);
  } catch (const Error& error) {
    problems.add_unreadable("--config", error.what());
    return {};
  }
  if (text.find('\0') != std::string::npos) {
    problems.add_unreadable(path, "is not a text file");
    return {};
  }
  if (text.starts_with("\xEF\xBB\xBF")) text.erase(0, 3);
  LineCheck check(path, known_keys, problems);
  std::istringstream lines(text);
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) check.take(number, line);

  std::istringstream accepted(check.accepted());
  const po::parsed_options parsed = po::parse_config_file(accepted, po::options_description(), true);
  OSLER_CHECK(parsed.options.size() == check.origins().size(), "in ", path);
  Layer layer;
  for (std::size_t i = 0; i < parsed.options.size(); ++i)
    layer.push_back({parsed.options[i].string_key, parsed.options[i].value.front(), check.origins()[i]});
  return layer;
}

}  // namespace osler::config
