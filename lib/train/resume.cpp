#include "train/resume.hpp"

#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.hpp"
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

void require_same_run(const checkpoint::RunState& stored, const checkpoint::RunState& expected,
                      RouterLosses router_losses, const std::string& directory) {
  const std::vector<std::string> changed = differences(stored.run_config, expected.run_config);
  std::string problems;
  for (const auto& line : model_differences(stored.model_config, expected.model_config)) problems += "\n  " + line;
  if (stored.dtype != expected.dtype) problems += text_of("\n  parallel.dtype: ", stored.dtype, " -> ", expected.dtype);
  if (stored.data_fingerprint != expected.data_fingerprint || stored.seed != expected.seed) {
    problems +=
        "\n  the data or their order (contents, weights, sequence_length, global_batch, cross_document or seed)";
    for (const auto& line : changed)
      if (line.starts_with("data.") || line.starts_with("run.seed")) problems += "\n  " + line;
  }
  for (const auto& line : changed)
    if (router_losses == RouterLosses::on && line.starts_with("data.micro_batch: "))
      problems += "\n  " + line + " (the router losses are means over micro-batches, so the objective would change)";
  for (const auto& line : changed)
    if (line.starts_with("neftune.alpha: ")) problems += "\n  " + line + " (tables name a model by it)";
  if (problems.empty()) return;
  throw ConfigError(directory, " was saved by another run than the one configured now:", problems,
                    "\nuse another run.dir, or start from those weights with model.from");
}

}  // namespace osler::train
