#include "train/run_directory.hpp"

#include <unistd.h>

#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/publish.hpp"

namespace osler::train {

RunDirectory::RunDirectory(std::string path) : path_(std::move(path)) {
  while (path_.size() > 1 && path_.back() == '/') path_.pop_back();
}

bool RunDirectory::is_done() const {
  return std::filesystem::exists(done());
}

void RunDirectory::describe(const std::string& resolved_ini, const std::string& run_json) const {
  require_writable_directory(path_);
  publish_file(path_ + "/config.ini", resolved_ini);
  publish_file(path_ + "/run.json", run_json);
}

void RunDirectory::mark_done(std::int64_t step) const {
  publish_file(done(), text_of("step ", step, " ", utc_timestamp(), "\n"));
}

std::string run_description(const std::string& program_version, const std::vector<std::string>& hosts,
                            const plan::Mesh& mesh, std::int64_t resumed_step) {
  const nlohmann::ordered_json description = {
      {"version", program_version},
      {"world_size", hosts.size()},
      {"layout", {{"dp", mesh.dp}, {"tp", mesh.tp}, {"edp", mesh.edp}, {"ep", mesh.ep}}},
      {"hosts", hosts},
      {"resumed_step", resumed_step},
      {"start_time", utc_timestamp()},
  };
  return description.dump(2) + "\n";
}

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "unknown";
  return name.data();
}

}  // namespace osler::train
