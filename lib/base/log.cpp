#include "base/log.hpp"

#include <atomic>
#include <memory>
#include <mutex>

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace osler::log {
namespace {

struct Identity {
  std::mutex mutex;
  std::string prefix;  // "" in a run of one rank
  std::atomic<int> rank{0};
};

// Never destroyed: a line may still be written while the program's statics go away.
Identity& self() {
  static Identity& instance = *new Identity;
  return instance;
}

spdlog::logger& logger() {
  static spdlog::logger& instance = *[] {
    auto* made = new spdlog::logger("osler", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern("%Y-%m-%d %H:%M:%S %l: %v");
    made->flush_on(spdlog::level::warn);
    return made;
  }();
  return instance;
}

std::string prefixed(const std::string& line) {
  Identity& me = self();
  const std::lock_guard lock(me.mutex);
  return me.prefix.empty() ? line : "[" + me.prefix + "] " + line;
}

}  // namespace

void set_identity(int rank, int world_size, const std::string& where) {
  Identity& me = self();
  const std::lock_guard lock(me.mutex);
  me.rank = rank;
  me.prefix = world_size > 1 ? where : std::string();
}

std::string identity() {
  Identity& me = self();
  const std::lock_guard lock(me.mutex);
  return me.prefix;
}

int rank() {
  return self().rank;
}

// Lines are passed as arguments, never as the format: they may hold braces.
void write_info(const std::string& line) {
  if (rank() == 0) logger().info("{}", line);
}

void write_warning(const std::string& line) {
  logger().warn("{}", prefixed(line));
}

void write_error(const std::string& line) {
  logger().error("{}", prefixed(line));
  logger().flush();
}

}  // namespace osler::log
