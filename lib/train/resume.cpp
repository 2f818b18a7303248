#include "train/resume.hpp"

#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.hpp"
#include "base/sha256.hpp"
#include "config/strict_json.hpp"

namespace osler::train {

namespace {

// Keys of config.json that say nothing of the architecture and differ between savers of the same model.
constexpr const char* kProvenanceKeys[] = {"_name_or_path", "transformers_version", "torch_dtype", "dtype",
                                           "use_cache",     "output_router_logits"};

std::string trimmed(const std::string& text) {
  const auto begin = text.find_first_not_of(" \t\r");
  if (begin == std::string::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

/// section.key -> its values, one per line (keys may repeat); `order` lists the keys as they come.
std::map<std::string, std::string> parse_ini(const std::string& text, std::vector<std::string>& order) {
  std::map<std::string, std::string> values;
  std::string section;
  std::istringstream lines(text);
  for (std::string raw; std::getline(lines, raw);) {
    const std::string line = trimmed(raw);
    if (line.empty() || line.front() == '#') continue;
    if (line.front() == '[') {
      section = line.substr(1, line.find(']') - 1);
      continue;
    }
    const auto equals = line.find('=');
    std::string key = trimmed(line.substr(0, equals));
    if (!section.empty()) key.insert(0, section + ".");
    const std::string value = equals == std::string::npos ? "" : trimmed(line.substr(equals + 1));
    const auto [entry, is_new] = values.emplace(key, value);
    if (is_new)
      order.push_back(key);
    else
      entry->second += ", " + value;
  }
  return values;
}

std::string shown(const std::map<std::string, std::string>& values, const std::string& key) {
  const auto entry = values.find(key);
  return entry == values.end() ? "(absent)" : entry->second;
}

nlohmann::json architecture(const std::string& model_config) {
  auto config = config::parse_strict_json(model_config, "the model's config.json");
  for (const char* key : kProvenanceKeys) config.erase(key);
  return config;
}

}  // namespace

std::vector<std::string> differences(const std::string& stored_ini, const std::string& current_ini) {
  std::vector<std::string> stored_order;
  std::vector<std::string> order;
  const auto stored = parse_ini(stored_ini, stored_order);
  const auto current = parse_ini(current_ini, order);
  for (const auto& key : stored_order)
    if (!current.contains(key)) order.push_back(key);
  std::vector<std::string> lines;
  for (const auto& key : order)
    if (shown(stored, key) != shown(current, key))
      lines.push_back(key + ": " + shown(stored, key) + " -> " + shown(current, key));
  return lines;
}

std::vector<std::string> model_differences(const std::string& stored_config, const std::string& current_config) {
  const auto stored = architecture(stored_config);
  const auto current = architecture(current_config);
  std::vector<std::string> lines;
  for (const auto& [key, value] : current.items())
    if (!stored.contains(key) || stored[key] != value)
      lines.push_back(
          text_of("model ", key, ": ", stored.contains(key) ? stored[key].dump() : "(absent)", " -> ", value.dump()));
  for (const auto& [key, value] : stored.items())
    if (!current.contains(key)) lines.push_back(text_of("model ", key, ": ", value.dump(), " -> (absent)"));
  return lines;
}

std::string tokenizer_difference(const std::vector<std::string>& stored, const std::vector<std::string>& current) {
  const auto sum_of = [](const std::vector<std::string>& files) {
    for (const std::string& file : files)
      if (file.ends_with(".model")) return sha256_hex_of_file(file);
    return std::string();
  };
  const std::string before = sum_of(stored);
  const std::string now = sum_of(current);
  if (before.empty() || now.empty() || before == now) return "";
  return text_of("tokenizer.model: sha256 ", before.substr(0, 12), "... -> ", now.substr(0, 12), "...");
}

namespace {

/// What no word makes right: another model, or other steps.
std::vector<std::string> hard_differences(const checkpoint::RunState& stored, const Start& start,
                                          const std::vector<std::string>& changed) {
  std::vector<std::string> problems = model_differences(stored.model_config, start.state.model_config);
  if (!start.tokenizer_difference.empty()) problems.push_back(start.tokenizer_difference);
  if (stored.dtype != start.state.dtype)
    problems.push_back(text_of("parallel.dtype: ", stored.dtype, " -> ", start.state.dtype));
  for (const std::string& line : changed) {
    if (line.starts_with("run.seed: ") || line.starts_with("data.global_batch: ") ||
        line.starts_with("data.sequence_length: "))
      problems.push_back(line);
    if (start.router_losses == RouterLosses::on && line.starts_with("data.micro_batch: "))
      problems.push_back(line + " (the router losses are means over micro-batches, so the objective would change)");
    if (line.starts_with("neftune.alpha: ")) problems.push_back(line + " (tables name a model by it)");
  }
  return problems;
}

/// Other data under the same steps.
std::vector<std::string> data_differences(const checkpoint::RunState& stored, const Start& start,
                                          const std::vector<std::string>& changed) {
  if (stored.data_fingerprint == start.state.data_fingerprint) return {};
  std::vector<std::string> problems;
  for (const char* key : {"data.source: ", "data.cross_document: ", "data.too_long: "})
    for (const std::string& line : changed)
      if (line.starts_with(key)) problems.push_back(line);
  if (problems.empty())
    problems.emplace_back("the contents of the token shards (no key of [data] differs: they were made again)");
  return problems;
}

std::string listed(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += "\n  " + line;
  return text;
}

}  // namespace

std::vector<std::string> require_same_run(const checkpoint::RunState& stored, const Start& start,
                                          const std::string& directory) {
  const std::vector<std::string> changed = differences(stored.run_config, start.state.run_config);
  std::vector<std::string> hard = hard_differences(stored, start, changed);
  if (hard.empty() && stored.seed != start.state.seed)
    hard.push_back(text_of("run.seed: ", stored.seed, " -> ", start.state.seed));
  std::vector<std::string> data;
  if (hard.empty()) data = data_differences(stored, start, changed);
  const bool accepted = start.changed_data == ChangedData::accepted;
  if (hard.empty() && (data.empty() || accepted)) return data;
  throw ConfigError(directory, " was saved by another run than the one configured now:", listed(hard), listed(data),
                    "\nuse another run.dir, or start from those weights with model.from",
                    hard.empty() ? "; to go on here with the other data all the same, run.accept_changed_data=on" : "");
}

}  // namespace osler::train
