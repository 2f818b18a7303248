// Where settings come from: INI files and the command line, each read by Boost.ProgramOptions into a layer that knows
// the origin of every value. Local to config.
#pragma once

#include <string>
#include <vector>

#include "config/field.hpp"

namespace osler::config {

struct Setting {
  std::string key;
  std::string value;
  std::string origin;  ///< "configs/a.ini:12" or "command line"
};
using Layer = std::vector<Setting>;

/// All that is wrong, so that it is reported at once.
class Problems {
 public:
  /// `origin` may be "".
  void add(const std::string& origin, const std::string& problem) {
    lines_.push_back(origin.empty() ? problem : origin + ": " + problem);
  }
  /// A file or command line of which nothing can be used: what follows from its absence is not worth reporting.
  void add_unreadable(const std::string& origin, const std::string& problem) {
    add(origin, problem);
    has_unreadable_ = true;
  }
  bool has_unreadable() const { return has_unreadable_; }
  void throw_if_any() const;  ///< ConfigError, one problem a line

 private:
  std::vector<std::string> lines_;
  bool has_unreadable_ = false;
};

/// A name as near to `key` as can be offered: "; did you mean X?", or what the section knows, or "".
std::string suggestion_for(const std::string& key, const std::vector<std::string>& known_keys);

Layer read_ini(const std::string& path, const std::vector<std::string>& known_keys, Problems& problems);

struct CommandLine {
  Layer layer;
  std::vector<std::string> config_files;
  bool help = false;
  bool print_config = false;
  bool dry_run = false;
};
/// Names without a dot belong to `own_section`.
CommandLine read_command_line(const std::vector<std::string>& args, const std::string& own_section,
                              const std::vector<std::string>& known_keys, Problems& problems);

}  // namespace osler::config
