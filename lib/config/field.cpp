#include "config/field.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>

namespace osler::config {
namespace {

template <class T>
T parse_number(const std::string& text, const std::string& kind) {
  T value{};
  const char* const end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, value);
  if (result.ec == std::errc::result_out_of_range) throw BadValue("'" + text + "' is out of range");
  if (result.ec != std::errc() || result.ptr != end) throw BadValue("'" + text + "' is not " + kind);
  return value;
}

bool is_name(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '_' || c == '-' || c == '.';
  });
}

std::string checked_name(const std::string& name, const std::string& text, const std::string& form) {
  if (!is_name(name))
    throw BadValue("'" + text + "' is not " + form + ": the name may hold letters, digits, '_', '-' and '.'");
  return name;
}

std::string checked_path(const std::string& path, const std::string& text, const std::string& form) {
  if (path.empty()) throw BadValue("'" + text + "' is not " + form + ": the path is empty");
  return parse_text(path);
}

template <class Item, class Parse>
void set_list(std::vector<Item>& value, const std::vector<std::string>& texts, Parse parse) {
  std::vector<Item> items;
  if (!(texts.size() == 1 && texts.front().empty()))  // "key =" empties a list that an earlier file filled
    for (const std::string& text : texts) items.push_back(parse(text));
  value = std::move(items);
}

template <class Item>
std::vector<std::string> texts_of(const std::vector<Item>& items) {
  std::vector<std::string> texts;
  for (const Item& item : items) texts.push_back(text_of_value(item));
  return texts;
}

template <class T>
T parse_number_as(const std::string& text) {
  if constexpr (std::is_floating_point_v<T>)
    return parse_real(text);
  else
    return parse_whole(text);
}

}  // namespace

std::int64_t parse_whole(const std::string& text) {
  return parse_number<std::int64_t>(text, "a whole number");
}

std::uint64_t parse_unsigned(const std::string& text) {
  return parse_number<std::uint64_t>(text, "a whole number that is not negative");
}

double parse_real(const std::string& text) {
  const double value = parse_number<double>(text, "a number");
  if (!std::isfinite(value)) throw BadValue("'" + text + "' is not a finite number");
  return value;
}

bool parse_flag(const std::string& text) {
  std::string lower = text;
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  for (const char* word : {"on", "yes", "1", "true"})
    if (lower == word) return true;
  for (const char* word : {"off", "no", "0", "false"})
    if (lower == word) return false;
  throw BadValue("'" + text + "' is neither on, yes, 1, true nor off, no, 0, false");
}

std::string parse_text(const std::string& given) {
  // A config file trims values; so must the command line, or the resolved INI would not read back.
  const std::size_t first = given.find_first_not_of(" \t");
  const std::string text =
      first == std::string::npos ? "" : given.substr(first, given.find_last_not_of(" \t") - first + 1);
  for (const unsigned char c : text) {
    if (c == '#') throw BadValue("'" + text + "' holds '#', which starts a comment in a config file: rename the path");
    if (c < 0x20 || c == 0x7f) throw BadValue("the value holds a control character");
  }
  return text;
}

NamedPath parse_named_path(const std::string& text) {
  const std::size_t colon = text.find(':');
  if (colon == std::string::npos) throw BadValue("'" + text + "' is not NAME:PATH");
  return {checked_name(text.substr(0, colon), text, "NAME:PATH"),
          checked_path(text.substr(colon + 1), text, "NAME:PATH")};
}

NamedPath parse_optionally_named_path(const std::string& text) {
  const std::size_t colon = text.find(':');
  const bool is_named = colon != std::string::npos && text.find('/') > colon;
  return is_named ? parse_named_path(text) : NamedPath{"", checked_path(text, text, "[NAME:]PATH")};
}

WeightedPath parse_weighted_path(const std::string& text) {
  const std::string form = "NAME:WEIGHT:PATH";
  const std::size_t first = text.find(':');
  const std::size_t second = first == std::string::npos ? first : text.find(':', first + 1);
  if (second == std::string::npos) throw BadValue("'" + text + "' is not " + form);
  WeightedPath value;
  value.name = checked_name(text.substr(0, first), text, form);
  try {
    value.weight = parse_real(text.substr(first + 1, second - first - 1));
  } catch (const BadValue& problem) {
    throw BadValue("'" + text + "' is not " + form + ": the weight " + problem.what());
  }
  if (!(value.weight > 0)) throw BadValue("'" + text + "': the weight must be greater than 0");
  value.path = checked_path(text.substr(second + 1), text, form);
  return value;
}

std::string text_of_real(double value) {
  std::array<char, 64> text{};
  const auto result = std::to_chars(text.data(), text.data() + text.size(), value);
  return {text.data(), result.ptr};
}

std::string text_of_value(std::int64_t value) {
  return std::to_string(value);
}

std::string text_of_value(double value) {
  return text_of_real(value);
}

std::string text_of_value(const NamedPath& value) {
  return value.name.empty() ? value.path : value.name + ":" + value.path;
}

std::string text_of_value(const WeightedPath& value) {
  return value.name + ":" + text_of_real(value.weight) + ":" + value.path;
}

void refuse_choice(const std::string& text, const std::vector<std::string>& names) {
  const std::string near = nearest_name(text, names);
  throw BadValue("'" + text + "' is not one of " + FieldList::joined(names, ", ") +
                 (near.empty() ? "" : "; did you mean " + near + "?"));
}

Field& FieldList::real(const std::string& name, double& value, Interval<double> interval, const std::string& unit,
                       const std::string& help) {
  Field& field = add(name, "X", unit, help);
  field.bound = bound_text(interval, text_of_real);
  field.get = [&value] { return std::vector{text_of_real(value)}; };
  field.set = [&value, interval, bound = field.bound](const std::vector<std::string>& texts) {
    const double parsed = parse_real(texts.front());
    check_interval(parsed, interval, texts.front(), bound);
    value = parsed;
  };
  return done(field);
}

Field& FieldList::flag(const std::string& name, bool& value, const std::string& help) {
  Field& field = add(name, "on|off", "", help);
  field.get = [&value] { return std::vector<std::string>{value ? "on" : "off"}; };
  field.set = [&value](const std::vector<std::string>& texts) { value = parse_flag(texts.front()); };
  return done(field);
}

Field& FieldList::text(const std::string& name, std::string& value, const std::string& help) {
  Field& field = add(name, "TEXT", "", help);
  field.get = [&value] { return std::vector{value}; };
  field.set = [&value](const std::vector<std::string>& texts) { value = parse_text(texts.front()); };
  return done(field);
}

Field& FieldList::path(const std::string& name, std::string& value, const std::string& help) {
  Field& field = text(name, value, help);
  field.placeholder = "PATH";
  return field;
}

Field& FieldList::one_of(const std::string& name, std::string& value, const std::vector<std::string>& names,
                         const std::string& help) {
  Field& field = add(name, joined(names, "|"), "", help);
  field.get = [&value] { return std::vector{value}; };
  field.set = [&value, names, fallback = value](const std::vector<std::string>& texts) {
    const bool known = std::find(names.begin(), names.end(), texts.front()) != names.end();
    if (!known && texts.front() != fallback) refuse_choice(texts.front(), names);
    value = texts.front();
  };
  return done(field);
}

Field& FieldList::list(const std::string& name, std::vector<NamedPath>& value, const std::string& placeholder,
                       const std::string& help) {
  Field& field = add(name, placeholder, "", help);
  field.repeatable = true;
  field.get = [&value] { return texts_of(value); };
  field.set = [&value](const std::vector<std::string>& texts) { set_list(value, texts, parse_named_path); };
  return done(field);
}

Field& FieldList::list_of_optional_names(const std::string& name, std::vector<NamedPath>& value,
                                         const std::string& placeholder, const std::string& help) {
  Field& field = add(name, placeholder, "", help);
  field.repeatable = true;
  field.get = [&value] { return texts_of(value); };
  field.set = [&value](const std::vector<std::string>& texts) { set_list(value, texts, parse_optionally_named_path); };
  return done(field);
}

Field& FieldList::list(const std::string& name, std::vector<WeightedPath>& value, const std::string& placeholder,
                       const std::string& help) {
  Field& field = add(name, placeholder, "", help);
  field.repeatable = true;
  field.get = [&value] { return texts_of(value); };
  field.set = [&value](const std::vector<std::string>& texts) { set_list(value, texts, parse_weighted_path); };
  return done(field);
}

Field& FieldList::list(const std::string& name, std::vector<std::int64_t>& value, Interval<std::int64_t> interval,
                       const std::string& unit, const std::string& help) {
  return numbers(name, value, "N", interval, unit, help, [](std::int64_t bound) { return std::to_string(bound); });
}

Field& FieldList::list(const std::string& name, std::vector<double>& value, Interval<double> interval,
                       const std::string& unit, const std::string& help) {
  return numbers(name, value, "X", interval, unit, help, text_of_real);
}

template <class T, class ToText>
Field& FieldList::numbers(const std::string& name, std::vector<T>& value, const std::string& placeholder,
                          Interval<T> interval, const std::string& unit, const std::string& help, ToText to_text) {
  Field& field = add(name, placeholder, unit, help);
  field.repeatable = true;
  field.bound = bound_text(interval, to_text);
  field.get = [&value] { return texts_of(value); };
  field.set = [&value, interval, bound = field.bound](const std::vector<std::string>& texts) {
    set_list(value, texts, [&](const std::string& text) {
      const T number = parse_number_as<T>(text);
      check_interval(number, interval, text, bound);
      return number;
    });
  };
  return done(field);
}

std::string FieldList::joined(const std::vector<std::string>& parts, const std::string& separator) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : separator) + part;
  return text;
}

Field& FieldList::add(const std::string& name, const std::string& placeholder, const std::string& unit,
                      const std::string& help) {
  Field& field = fields_.emplace_back();
  field.key = section_ + "." + name;
  field.placeholder = placeholder;
  field.unit = unit;
  field.help = help;
  return field;
}

}  // namespace osler::config
