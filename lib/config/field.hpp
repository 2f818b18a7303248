// One option as the parser sees it: its key, what it may hold, its help, and how text goes in and out of the variable
// it is bound to. Local to config.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "config/nearest.hpp"
#include "config/options.hpp"

namespace osler::config {

/// Why a text is not a value of its field; the parser adds key and origin.
struct BadValue : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Field {
  std::string key;          ///< "optim.learning_rate"
  std::string placeholder;  ///< what stands for a value in help: "N", "PATH", "on|off"
  std::string bound;        ///< "> 0"; "" when any value will do
  std::string unit;
  std::string help;
  bool repeatable = false;
  std::vector<std::string> required_by;  ///< verbs that cannot do without it
  /// Takes one text, or all texts of a repeatable field; throws BadValue.
  std::function<void(const std::vector<std::string>&)> set;
  std::function<std::vector<std::string>()> get;
  std::vector<std::string> default_texts;

  Field& needed_by(std::initializer_list<const char*> verbs) {
    required_by.assign(verbs.begin(), verbs.end());
    return *this;
  }
  std::string section() const { return key.substr(0, key.find('.')); }
  std::string name() const { return key.substr(key.find('.') + 1); }
};

template <class T>
struct Interval {
  T least = std::numeric_limits<T>::lowest();
  T most = std::numeric_limits<T>::max();
  bool open_below = false;  ///< least itself is not allowed
  bool open_above = false;
};
template <class T>
Interval<T> at_least(T least) {
  return {.least = least};
}
inline Interval<double> above(double least) {
  return {.least = least, .open_below = true};
}

template <class Enum>
struct Choice {
  std::string_view name;
  Enum value;
};

std::int64_t parse_whole(const std::string& text);
std::uint64_t parse_unsigned(const std::string& text);
double parse_real(const std::string& text);  ///< finite
bool parse_flag(const std::string& text);    ///< on/off, yes/no, 1/0, true/false
std::string parse_text(const std::string& text);
NamedPath parse_named_path(const std::string& text);
NamedPath parse_optionally_named_path(const std::string& text);
WeightedPath parse_weighted_path(const std::string& text);
std::string text_of_real(double value);  ///< the shortest text that reads back to the same value
std::string text_of_value(std::int64_t value);
std::string text_of_value(double value);
std::string text_of_value(const NamedPath& value);
std::string text_of_value(const WeightedPath& value);
[[noreturn]] void refuse_choice(const std::string& text, const std::vector<std::string>& names);

/// Collects the fields of one section.
class FieldList {
 public:
  explicit FieldList(std::string section) : section_(std::move(section)) {}
  std::vector<Field> take() { return std::move(fields_); }

  template <class T>
  Field& whole(const std::string& name, T& value, Interval<T> interval, const std::string& unit,
               const std::string& help) {
    Field& field = add(name, "N", unit, help);
    field.bound = bound_text(interval, [](T bound) { return std::to_string(bound); });
    field.get = [&value] { return std::vector{std::to_string(value)}; };
    field.set = [&value, interval, bound = field.bound](const std::vector<std::string>& texts) {
      check_interval<T>(parse_integer<T>(texts.front()), interval, texts.front(), bound);
      value = parse_integer<T>(texts.front());
    };
    return done(field);
  }
  Field& real(const std::string& name, double& value, Interval<double> interval, const std::string& unit,
              const std::string& help);
  Field& flag(const std::string& name, bool& value, const std::string& help);
  Field& text(const std::string& name, std::string& value, const std::string& help);
  Field& path(const std::string& name, std::string& value, const std::string& help);
  Field& one_of(const std::string& name, std::string& value, const std::vector<std::string>& names,
                const std::string& help);
  Field& list(const std::string& name, std::vector<NamedPath>& value, const std::string& placeholder,
              const std::string& help);
  Field& list(const std::string& name, std::vector<WeightedPath>& value, const std::string& placeholder,
              const std::string& help);
  Field& list(const std::string& name, std::vector<std::int64_t>& value, Interval<std::int64_t> interval,
              const std::string& unit, const std::string& help);
  Field& list(const std::string& name, std::vector<double>& value, Interval<double> interval, const std::string& unit,
              const std::string& help);
  /// NAME:PATH or PATH, which is also what has no name before its first colon.
  Field& list_of_optional_names(const std::string& name, std::vector<NamedPath>& value, const std::string& placeholder,
                                const std::string& help);

  template <class Enum>
  Field& choice(const std::string& name, Enum& value, std::span<const Choice<Enum>> choices, const std::string& help) {
    std::vector<std::string> names;
    for (const auto& choice : choices) names.emplace_back(choice.name);
    Field& field = add(name, joined(names, "|"), "", help);
    field.get = [&value, choices] {
      for (const auto& choice : choices)
        if (choice.value == value) return std::vector{std::string(choice.name)};
      return std::vector<std::string>{"?"};
    };
    field.set = [&value, choices, names](const std::vector<std::string>& texts) {
      for (const auto& choice : choices) {
        if (choice.name != texts.front()) continue;
        value = choice.value;
        return;
      }
      refuse_choice(texts.front(), names);
    };
    return done(field);
  }

  static std::string joined(const std::vector<std::string>& parts, const std::string& separator);

 private:
  Field& add(const std::string& name, const std::string& placeholder, const std::string& unit, const std::string& help);
  template <class T, class ToText>
  Field& numbers(const std::string& name, std::vector<T>& value, const std::string& placeholder, Interval<T> interval,
                 const std::string& unit, const std::string& help, ToText to_text);
  static Field& done(Field& field) {
    field.default_texts = field.get();
    return field;
  }

  template <class T>
  static T parse_integer(const std::string& text) {
    if constexpr (std::is_unsigned_v<T>) {
      return static_cast<T>(parse_unsigned(text));
    } else {
      const std::int64_t value = parse_whole(text);
      if (value < std::numeric_limits<T>::min() || value > std::numeric_limits<T>::max())
        throw BadValue("'" + text + "' is too large");
      return static_cast<T>(value);
    }
  }
  template <class T>
  static void check_interval(T value, const Interval<T>& interval, const std::string& text, const std::string& bound) {
    const bool low = interval.open_below ? value <= interval.least : value < interval.least;
    const bool high = interval.open_above ? value >= interval.most : value > interval.most;
    if (low || high) throw BadValue("must be " + bound + ", not " + text);
  }
  template <class T, class ToText>
  static std::string bound_text(const Interval<T>& interval, ToText to_text) {
    std::string text;
    if (interval.least != std::numeric_limits<T>::lowest() && !(std::is_unsigned_v<T> && interval.least == 0))
      text += (interval.open_below ? "> " : ">= ") + to_text(interval.least);
    if (interval.most != std::numeric_limits<T>::max())
      text += (text.empty() ? "" : " and ") + std::string(interval.open_above ? "< " : "<= ") + to_text(interval.most);
    return text;
  }

  std::string section_;
  std::vector<Field> fields_;
};

}  // namespace osler::config
