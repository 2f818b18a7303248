#include "evaluation_key.hpp"

#include <algorithm>
#include <filesystem>

#include "base/publish.hpp"
#include "base/sha256.hpp"

namespace osler::app {

namespace {

namespace fs = std::filesystem;

std::string fingerprint_of_weights(const std::string& folder) {
  if (folder.empty()) return {};
  std::error_code error;
  if (const fs::path manifest = fs::path(folder) / "manifest.json"; fs::exists(manifest, error))
    return sha256_hex_of_file(manifest.string());
  std::vector<std::string> lines;
  for (const auto& entry : fs::directory_iterator(folder, error))
    if (entry.is_regular_file(error))
      lines.push_back(text_of(entry.path().filename().string(), " ", entry.file_size(error), " ",
                              entry.last_write_time(error).time_since_epoch().count()));
  std::sort(lines.begin(), lines.end());
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return sha256_hex(text);
}

/// Without the lines that say where and how results are written and not what they are.
std::string configuration_that_counts(const std::string& ini) {
  std::string text;
  bool in_files = false;
  for (std::size_t begin = 0; begin < ini.size();) {
    const std::size_t end = std::min(ini.find('\n', begin), ini.size());
    const std::string line = ini.substr(begin, end - begin);
    if (line.starts_with("[")) in_files = line == "[files]";
    if (!in_files && !line.starts_with("output =") && !line.starts_with("threads =")) text += line + "\n";
    begin = end + 1;
  }
  return text;
}

}  // namespace

std::string evaluation_key(const config::EvalOptions& options, const std::vector<eval::Task>& tasks,
                           const eval::RunIdentity& identity) {
  std::string text = configuration_that_counts(identity.config) + identity.build + "\n" + identity.device + "\n" +
                     fingerprint_of_weights(identity.checkpoint) + "\n" + identity.tokenizer_sha256 + "\n";
  for (const eval::Task& task : tasks)
    text += task.name + " " + task.file_sha256 + " " + task.train_sha256 + " " + task.prompt.sha256() + "\n";
  for (const auto* list : {&options.responses, &options.contamination})
    for (const config::NamedPath& entry : *list) text += sha256_hex_of_file(entry.path) + "\n";
  if (!options.embeddings.empty()) text += sha256_hex_of_file(options.embeddings) + "\n";
  return sha256_hex(text);
}

}  // namespace osler::app
