#include "config/parser.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "base/error.hpp"
#include "base/sha256.hpp"
#include "config/help_text.hpp"
#include "config/layers.hpp"
#include "config/option_fields.hpp"
#include "config/validate.hpp"

namespace osler::config {

void Problems::throw_if_any() const {
  if (lines_.empty()) return;
  if (lines_.size() == 1) throw ConfigError(lines_.front());
  throw ConfigError(lines_.size(), " problems in the configuration:\n  ", FieldList::joined(lines_, "\n  "));
}

std::string suggestion_for(const std::string& key, const std::vector<std::string>& known_keys) {
  const std::size_t dot = key.find('.');
  const std::string name = dot == std::string::npos ? key : key.substr(dot + 1);
  for (const std::string& known : known_keys)  // right name, wrong or missing section
    if (known.substr(known.find('.') + 1) == name) return "; did you mean " + known + "?";
  const std::string near = nearest_name(key, known_keys);
  if (!near.empty()) return "; did you mean " + near + "?";
  std::vector<std::string> names;
  for (const std::string& known : known_keys)
    if (dot != std::string::npos && known.substr(0, known.find('.')) == key.substr(0, dot))
      names.push_back(known.substr(dot + 1));
  return names.empty() ? "; see --help" : "; [" + key.substr(0, dot) + "] knows " + FieldList::joined(names, ", ");
}

struct Parser::Impl {
  std::string verb;
  std::string summary;
  BoundOptions bound;
  std::vector<Field> fields;                                ///< of the bound sections, in the order of add()
  EveryOption every;                                        ///< holds what is set for other verbs
  std::map<std::string, std::vector<std::string>> origins;  ///< of each value; absent: default
  std::set<std::string> unread;                             ///< keys whose value was refused

  template <class Options>
  void add(Options& options) {
    for (Field& field : fields_of(options)) fields.push_back(std::move(field));
  }

  bool binds_section(const std::string& section) const {
    return std::any_of(fields.begin(), fields.end(), [&](const Field& field) { return field.section() == section; });
  }
  std::vector<Field> fields_of_other_verbs() {
    std::vector<Field> others;
    for (Field& field : every.fields())
      if (!binds_section(field.section())) others.push_back(std::move(field));
    return others;
  }
  static std::vector<std::string> keys_of(const std::vector<Field>& list) {
    std::vector<std::string> keys;
    for (const Field& field : list) keys.push_back(field.key);
    return keys;
  }
  std::string origin_of(const std::string& key) const {
    const auto found = origins.find(key);
    return found == origins.end() ? "" : found->second.front();
  }

  void apply(const Field& field, const std::vector<Layer>& layers, Problems& problems);
  void check_names(const Layer& layer, bool is_command_line, const std::vector<std::string>& own,
                   const std::vector<std::string>& others, Problems& problems) const;
  void check_required(Problems& problems) const;
};

/// The first layer that names the field sets it, so a list is replaced as a whole and never appended to.
void Parser::Impl::apply(const Field& field, const std::vector<Layer>& layers, Problems& problems) {
  bool is_set = false;
  for (const Layer& layer : layers) {
    std::vector<std::string> values;
    std::vector<std::string> where;
    for (const Setting& setting : layer) {
      if (setting.key != field.key) continue;
      values.push_back(setting.value);
      where.push_back(setting.origin);
    }
    if (values.empty()) continue;
    if (values.size() > 1 && !field.repeatable) {
      problems.add(where.back(), field.key + ": given twice (first at " + where.front() + "); it takes one value");
      continue;
    }
    if (is_set) continue;
    is_set = true;
    origins[field.key] = where;
    try {
      field.set(values);
    } catch (const BadValue& problem) {
      problems.add(where.front(), field.key + ": " + problem.what());
      unread.insert(field.key);
    }
  }
}

void Parser::Impl::check_names(const Layer& layer, bool is_command_line, const std::vector<std::string>& own,
                               const std::vector<std::string>& others, Problems& problems) const {
  const auto holds = [](const std::vector<std::string>& keys, const std::string& key) {
    return std::find(keys.begin(), keys.end(), key) != keys.end();
  };
  for (const Setting& setting : layer) {
    if (holds(own, setting.key)) continue;
    if (!holds(others, setting.key)) {
      std::vector<std::string> known = own;
      known.insert(known.end(), others.begin(), others.end());
      problems.add(setting.origin, "unknown key " + setting.key + suggestion_for(setting.key, known));
    } else if (is_command_line) {
      problems.add(setting.origin, "osler " + verb + " does not use " + setting.key);
    }
  }
}

void Parser::Impl::check_required(Problems& problems) const {
  for (const Field& field : fields) {
    const auto& verbs = field.required_by;
    if (unread.count(field.key) > 0 || std::find(verbs.begin(), verbs.end(), verb) == verbs.end()) continue;
    const auto texts = field.get();
    if (texts.empty() || texts.front().empty() || texts.front() == "0")
      problems.add(origin_of(field.key), field.key + ": is needed by osler " + verb + " (" + field.help + ")");
  }
}

Parser::Parser(std::string verb, std::string summary) : impl_(std::make_unique<Impl>()) {
  impl_->verb = std::move(verb);
  impl_->summary = std::move(summary);
}
Parser::~Parser() = default;

void Parser::add(TokenizeOptions& options) {
  impl_->add(*(impl_->bound.tokenize = &options, &options));
}
void Parser::add(ConvertOptions& options) {
  impl_->add(*(impl_->bound.convert = &options, &options));
}
void Parser::add(RunOptions& options) {
  impl_->add(*(impl_->bound.run = &options, &options));
}
void Parser::add(ModelOptions& options) {
  impl_->add(*(impl_->bound.model = &options, &options));
}
void Parser::add(DataOptions& options) {
  impl_->add(*(impl_->bound.data = &options, &options));
}
void Parser::add(ParallelOptions& options) {
  impl_->add(*(impl_->bound.parallel = &options, &options));
}
void Parser::add(OptimOptions& options) {
  impl_->add(*(impl_->bound.optim = &options, &options));
}
void Parser::add(RouterOptions& options) {
  impl_->add(*(impl_->bound.router = &options, &options));
}
void Parser::add(NeftuneOptions& options) {
  impl_->add(*(impl_->bound.neftune = &options, &options));
}
void Parser::add(CheckpointOptions& options) {
  impl_->add(*(impl_->bound.checkpoint = &options, &options));
}
void Parser::add(EvalOptions& options) {
  impl_->add(*(impl_->bound.eval = &options, &options));
}
void Parser::add(FilesOptions& options) {
  impl_->add(*(impl_->bound.files = &options, &options));
}
void Parser::add(ClusterOptions& options) {
  impl_->add(*(impl_->bound.cluster = &options, &options));
}
void Parser::add(PlanOptions& options) {
  impl_->add(*(impl_->bound.plan = &options, &options));
}
void Parser::add(StudyOptions& options) {
  impl_->add(*(impl_->bound.study = &options, &options));
}

Action Parser::parse(const std::vector<std::string>& args) {
  Problems problems;
  const std::vector<Field> other_fields = impl_->fields_of_other_verbs();
  const auto own = Impl::keys_of(impl_->fields);
  const auto others = Impl::keys_of(other_fields);
  std::vector<std::string> known = own;
  known.insert(known.end(), others.begin(), others.end());

  CommandLine line = read_command_line(args, section_of_verb(impl_->verb), known, problems);
  if (line.help) return Action::help;
  std::vector<Layer> layers{line.layer};  // strongest first
  for (auto file = line.config_files.rbegin(); file != line.config_files.rend(); ++file)
    layers.push_back(read_ini(*file, known, problems));

  for (std::size_t i = 0; i < layers.size(); ++i) impl_->check_names(layers[i], i == 0, own, others, problems);
  for (const Field& field : impl_->fields) impl_->apply(field, layers, problems);
  const std::vector<Layer> files(layers.begin() + 1, layers.end());
  for (const Field& field : other_fields) impl_->apply(field, files, problems);
  if (problems.has_unreadable()) problems.throw_if_any();
  impl_->check_required(problems);
  const Report report = [&](const std::string& key, const std::string& problem) {
    problems.add(impl_->origin_of(key), key + ": " + problem);
  };
  refuse_what_comes_later(impl_->bound, impl_->verb, report);
  if (impl_->unread.empty()) refuse_contradictions(impl_->bound, impl_->verb, report);
  problems.throw_if_any();
  return line.print_config ? Action::print_config : line.dry_run ? Action::dry_run : Action::run;
}

std::string Parser::help() const {
  return help_text(impl_->verb, impl_->summary, impl_->fields);
}

std::string Parser::print_config() const {
  return ini_text(impl_->fields, [this](const std::string& key) {
    const auto found = impl_->origins.find(key);
    return found == impl_->origins.end() ? "default" : FieldList::joined(found->second, ", ");
  });
}

std::string Parser::resolved_ini() const {
  return ini_text(impl_->fields, nullptr);
}

std::string Parser::config_hash() const {
  std::vector<Field> counted = impl_->fields;
  std::erase_if(counted, [](const Field& field) { return field.section() == "files"; });
  return sha256_hex(ini_text(counted, nullptr));
}

}  // namespace osler::config
