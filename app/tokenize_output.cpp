#include "tokenize_output.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "base/error.hpp"
#include "base/folder_owner.hpp"
#include "base/log.hpp"
#include "base/publish.hpp"
#include "train/resume.hpp"

namespace osler::app {
namespace {

namespace fs = std::filesystem;

constexpr char kPartial[] = ".partial";
constexpr char kReport[] = "tokenize.json";
constexpr char kConfigHash[] = "config_hash";
constexpr char kFailed[] = "failed";

void remove_folder(const std::string& path) {
  std::error_code failure;
  fs::remove_all(path, failure);
  if (failure) throw StorageError("cannot remove ", path, ": ", failure.message());
}

std::string text_field(const nlohmann::json& report, const char* key) {
  const auto found = report.find(key);
  return found != report.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace

TokenizeOutput::TokenizeOutput(std::string folder, std::vector<std::string> sources)
    : folder_(std::move(folder)), partial_((fs::path(folder_) / kPartial).string()), sources_(std::move(sources)) {}

std::string TokenizeOutput::report_path() const {
  return (fs::path(folder_) / kReport).string();
}
std::string TokenizeOutput::staging_of(const std::string& source) const {
  return (fs::path(partial_) / source).string();
}

void TokenizeOutput::refuse_foreign_files(const std::string& config_hash) const {
  std::error_code failure;
  std::string owner;
  if (fs::exists(partial_, failure)) {
    const std::string mark = (fs::path(partial_) / kConfigHash).string();
    // A run that was killed before its first file left the folder empty: anybody's.
    owner = fs::exists(mark, failure)         ? read_file(mark, 4096)
            : fs::is_empty(partial_, failure) ? config_hash
                                              : "unknown";
    if (owner != config_hash) {
      throw DataError(partial_, " belongs to another run of tokenize (config ", owner.substr(0, 12),
                      "), going on or killed; name another tokenize.output, or remove that folder");
    }
  }
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_)) {
    const std::string name = entry.path().filename().string();
    // A run killed while it moved its sources into place has left some of them here.
    const bool ours = !owner.empty() &&
                      (std::find(sources_.begin(), sources_.end(), name) != sources_.end() || is_beside_sources(name));
    if (name != kPartial && name != FolderOwner::kFileName && !ours) {
      throw DataError("tokenize.output ", folder_, " is not empty ('", name,
                      "') and holds no finished run with this config; name another folder");
    }
  }
}

TokenizeOutput::State TokenizeOutput::begin(const std::string& config_hash, const std::string& inputs_sha256,
                                            const std::string& config) {
  std::error_code failure;
  if (!fs::exists(folder_, failure)) return State::empty;
  if (!fs::is_directory(folder_, failure)) throw StorageError("tokenize.output ", folder_, " is not a folder");
  if (fs::exists(report_path(), failure)) {
    const nlohmann::json report = nlohmann::json::parse(read_file(report_path()), nullptr, false);
    if (!report.is_object())
      throw DataError(report_path(), " is damaged; remove ", folder_, " or name another tokenize.output");
    if (text_field(report, "config_hash") != config_hash) {
      std::string changes;
      for (const std::string& line : train::differences(text_field(report, "config"), config))
        if (!line.starts_with("files.")) changes += "\n  " + line;
      throw DataError(folder_, " holds the finished run of another config (", report_path(), "):", changes,
                      "\nname another tokenize.output");
    }
    if (text_field(report, "inputs_sha256") != inputs_sha256) {
      throw DataError(folder_,
                      " was made from these inputs before they changed; remove it or name another tokenize.output");
    }
    remove_folder(partial_);
    return State::complete;
  }
  refuse_foreign_files(config_hash);
  if (fs::exists(partial_, failure)) {
    log::info("removing what an unfinished run left in ", folder_);
    for (const std::string& source : sources_) remove_folder((fs::path(folder_) / source).string());
    for (const std::string& file : beside_sources()) remove_folder(file);
    remove_folder(partial_);
  }
  return State::empty;
}

void TokenizeOutput::create(const std::string& config_hash) {
  make_directories(partial_);
  publish_file((fs::path(partial_) / kConfigHash).string(), config_hash);
  for (const std::string& source : sources_) make_directories(staging_of(source));
}

void TokenizeOutput::mark_failed() const noexcept {
  const int fd = open((fs::path(partial_) / kFailed).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, kFileMode);
  if (fd >= 0) close(fd);
}

bool TokenizeOutput::is_marked_failed() const noexcept {
  return access((fs::path(partial_) / kFailed).c_str(), F_OK) == 0;
}

bool TokenizeOutput::is_beside_sources(const std::string& name) {
  return name.starts_with("contamination_") && name.ends_with(".jsonl");
}

std::vector<std::string> TokenizeOutput::beside_sources() const {
  std::vector<std::string> files;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_, ignored)) {
    if (is_beside_sources(entry.path().filename().string())) files.push_back(entry.path().string());
  }
  return files;
}

void TokenizeOutput::publish(const std::string& report, const std::map<std::string, std::string>& files) const {
  for (const std::string& source : sources_) {
    sync_directory(staging_of(source));
    publish_directory(staging_of(source), (fs::path(folder_) / source).string());
  }
  for (const auto& [name, content] : files) {
    OSLER_CHECK(is_beside_sources(name), name);
    publish_file((fs::path(folder_) / name).string(), content);
  }
  publish_file(report_path(), report);
  remove_folder(partial_);
  sync_directory(folder_);
}

void TokenizeOutput::discard() const noexcept {
  std::error_code ignored;
  if (fs::exists(report_path(), ignored) || !fs::exists(partial_, ignored)) return;
  for (const std::string& source : sources_) fs::remove_all(fs::path(folder_) / source, ignored);
  for (const std::string& file : beside_sources()) fs::remove_all(file, ignored);
  fs::remove_all(partial_, ignored);
}

}  // namespace osler::app
