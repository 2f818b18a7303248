#include <algorithm>

#include <boost/program_options.hpp>

#include "config/layers.hpp"

namespace osler::config {
namespace {

namespace po = boost::program_options;

const std::string kOrigin = "command line";

bool is_common(const std::string& name) {
  return name == "config" || name == "help" || name == "print-config" || name == "dry-run";
}

/// --world-size=8 of `osler plan` becomes --plan.world_size=8.
std::string with_section(const std::string& arg, const std::string& own_section,
                         const std::vector<std::string>& known_keys) {
  if (arg == "-h") return "--help";
  if (!arg.starts_with("--")) return arg;
  const std::size_t equals = std::min(arg.find('='), arg.size());
  std::string name = arg.substr(2, equals - 2);
  if (name.empty() || is_common(name) || name.find('.') != std::string::npos) return arg;
  std::replace(name.begin(), name.end(), '-', '_');
  const std::string key = own_section + "." + name;
  const bool known = std::find(known_keys.begin(), known_keys.end(), key) != known_keys.end();
  return known ? "--" + key + arg.substr(equals) : arg;
}

/// Flags that may stand alone on the command line, where they mean "on".
bool may_stand_alone(const std::string& token) {
  return token == "--plan.search" || token == "--plan.pieces";
}

po::options_description describe(const std::vector<std::string>& known_keys) {
  po::options_description all;
  auto add = all.add_options();
  add("config", po::value<std::vector<std::string>>()->multitoken()->composing());
  for (const char* flag : {"help", "print-config", "dry-run"}) add(flag, po::bool_switch());
  for (const std::string& key : known_keys) add(key.c_str(), po::value<std::string>());
  return all;
}

}  // namespace

CommandLine read_command_line(const std::vector<std::string>& args, const std::string& own_section,
                              const std::vector<std::string>& known_keys, Problems& problems) {
  std::vector<std::string> tokens;
  for (const std::string& arg : args) {
    if (!tokens.empty() && may_stand_alone(tokens.back()) && arg.starts_with("--")) tokens.emplace_back("on");
    tokens.push_back(with_section(arg, own_section, known_keys));
    std::string& token = tokens.back();
    if (token.size() > 3 && token.starts_with("--") && token.find('=') == token.size() - 1) {
      token.pop_back();  // Boost takes '--key=' for a missing value; it means an empty one
      tokens.emplace_back();
    }
  }
  if (!tokens.empty() && may_stand_alone(tokens.back())) tokens.emplace_back("on");
  const po::options_description all = describe(known_keys);
  // No guessing: '--run.step' must not set run.steps.
  constexpr int kStyle = po::command_line_style::allow_long | po::command_line_style::long_allow_adjacent |
                         po::command_line_style::long_allow_next;
  CommandLine result;
  // Asked for first, so that it works on a command line that is wrong otherwise.
  if (std::find(tokens.begin(), tokens.end(), "--help") != tokens.end()) {
    result.help = true;
    return result;
  }
  po::parsed_options parsed(&all);
  try {
    parsed = po::command_line_parser(tokens).options(all).style(kStyle).allow_unregistered().run();
  } catch (const po::error& error) {
    problems.add_unreadable(kOrigin, error.what());
    return result;
  }
  bool after_unknown = false;
  for (const auto& option : parsed.options) {
    const std::string& first = option.original_tokens.empty() ? option.string_key : option.original_tokens.front();
    const bool is_positional = option.string_key.empty() || option.position_key >= 0;
    if (option.unregistered && !is_positional) {
      const std::string name = first.substr(0, first.find('='));
      problems.add(kOrigin, "unknown option " + name +
                                suggestion_for(name.substr(std::min<std::size_t>(2, name.size())), known_keys));
    } else if (is_positional) {
      // What follows an unknown option was meant as its value.
      if (!after_unknown) problems.add(kOrigin, "'" + first + "' is not an option; options are --section.key=value");
    } else if (option.string_key == "config") {
      result.config_files.insert(result.config_files.end(), option.value.begin(), option.value.end());
    } else if (option.string_key == "print-config") {
      result.print_config = true;
    } else if (option.string_key == "dry-run") {
      result.dry_run = true;
    } else {
      result.layer.push_back({option.string_key, option.value.front(), kOrigin});
    }
    after_unknown = option.unregistered && !is_positional;
  }
  return result;
}

}  // namespace osler::config
