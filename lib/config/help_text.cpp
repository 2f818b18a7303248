#include "config/help_text.hpp"

#include <algorithm>
#include <sstream>

#include "config/option_fields.hpp"

namespace osler::config {
namespace {

constexpr std::size_t kWidth = 118;  // columns; fits a wide terminal and a printed page in landscape
constexpr std::size_t kHelpColumn = 40;

/// Words of `text` wrapped into the column that starts at kHelpColumn; `head` stands left of it.
std::string entry(const std::string& head, const std::string& text) {
  std::string result = "  " + head;
  std::size_t column = result.size();
  if (column + 2 > kHelpColumn) {
    result += "\n" + std::string(kHelpColumn, ' ');
  } else {
    result += std::string(kHelpColumn - column, ' ');
  }
  column = kHelpColumn;
  std::istringstream words(text);
  std::string word;
  while (words >> word) {
    if (column > kHelpColumn && column + 1 + word.size() > kWidth) {
      result += "\n" + std::string(kHelpColumn, ' ');
      column = kHelpColumn;
    }
    if (column > kHelpColumn) {
      result += ' ';
      ++column;
    }
    result += word;
    column += word.size();
  }
  return result + "\n";
}

std::string facts_of(const Field& field, const std::string& verb) {
  std::vector<std::string> facts;
  if (std::find(field.required_by.begin(), field.required_by.end(), verb) != field.required_by.end())
    facts.push_back("needed");
  if (field.repeatable) facts.push_back("repeats");
  if (!field.unit.empty()) facts.push_back("in " + field.unit);
  if (!field.bound.empty()) facts.push_back(field.bound);
  const std::string text = FieldList::joined(field.default_texts, ", ");
  if (!text.empty()) facts.push_back("default " + text);
  return facts.empty() ? "" : " (" + FieldList::joined(facts, "; ") + ")";
}

}  // namespace

std::string help_text(const std::string& verb, const std::string& summary, const std::vector<Field>& fields) {
  const std::string own_section = section_of_verb(verb);
  std::string text = "usage: osler " + verb + " [--config F...] [--section.key=value ...]\n\n" + summary + "\n\n";
  text += entry("--config F...",
                "INI files of the keys below; later files override earlier ones, the command line overrides files; "
                "a list is replaced as a whole");
  text += entry("--print-config", "print the resolved configuration with the origin of each value, and stop");
  if (verb != "plan") text += entry("--dry-run", "check everything, write nothing, and stop");  // a plan is no more
  text += entry("--help", "this text");
  std::string section;
  for (const Field& field : fields) {
    if (field.section() != section) {
      section = field.section();
      text += "\n[" + section + "]";
      if (section == own_section)
        text += "  (on the command line --" + section + "." + field.name() + " may be written --" + field.name() + ")";
      text += "\n";
    }
    text += entry("--" + field.key + "=" + field.placeholder, field.help + facts_of(field, verb));
  }
  return text;
}

std::string ini_text(const std::vector<Field>& fields,
                     const std::function<std::string(const std::string& key)>& origin_of) {
  std::string text;
  std::string section;
  for (const Field& field : fields) {
    if (field.section() != section) {
      text += (section.empty() ? "[" : "\n[") + field.section() + "]\n";
      section = field.section();
    }
    if (origin_of) text += "# " + origin_of(field.key) + "\n";
    const std::vector<std::string> values = field.get();
    if (values.empty()) text += field.name() + " =\n";
    for (const std::string& value : values) text += field.name() + (value.empty() ? " =" : " = " + value) + "\n";
  }
  return text;
}

}  // namespace osler::config
