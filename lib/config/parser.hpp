// Command line and INI layers into option structs. Precedence: command line > later file > earlier file > default.
// Every problem is collected and reported at once, with file and line and the nearest known name. Local.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "config/options.hpp"

namespace osler::config {

enum class Action { run, help, print_config, dry_run };

class Parser {
 public:
  explicit Parser(std::string verb, std::string summary);
  ~Parser();
  /// Binds every field of a section to `options`, which outlives the parser. One overload per struct of options.hpp.
  void add(TokenizeOptions& options);
  void add(ConvertOptions& options);
  void add(RunOptions& options);
  void add(ModelOptions& options);
  void add(DataOptions& options);
  void add(ParallelOptions& options);
  void add(OptimOptions& options);
  void add(RouterOptions& options);
  void add(NeftuneOptions& options);
  void add(CheckpointOptions& options);
  void add(EvalOptions& options);
  void add(FilesOptions& options);
  void add(ClusterOptions& options);
  void add(PlanOptions& options);
  void add(StudyOptions& options);

  /// args: what follows the verb. Knows --config F..., --help, --print-config, --dry-run and --section.key=value (or
  /// "--section.key value"); the verb's own section may be left out (`osler convert --input`). Throws ConfigError with
  /// all problems, one a line. Fields keep defaults where nothing sets them. A file may hold sections that this verb
  /// does not use, so that one file serves several verbs: they are checked and otherwise ignored.
  Action parse(const std::vector<std::string>& args);
  std::string help() const;          ///< grouped by section, with default, bound and unit
  std::string print_config() const;  ///< resolved INI, each value with its origin as a comment
  std::string resolved_ini() const;  ///< the same without origins: what checkpoints and tables store
  std::string config_hash() const;   ///< SHA-256 of resolved_ini() without [files]: of what makes results

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace osler::config
