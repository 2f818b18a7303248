#include "base/folder_owner.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <random>
#include <sstream>
#include <utility>

#include "base/error.hpp"
#include "base/file_mode.hpp"
#include "base/log.hpp"
#include "base/publish.hpp"

namespace osler {
namespace {

constexpr int kSignsPerSilence = 6;  // so many must be missed before an owner counts as dead
// A job that was just killed may take a moment to go, and its successor starts at once.
constexpr std::chrono::duration<double> kTimeToDie{10};
constexpr std::uint64_t kMaxOwnerBytes = 4096;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string first_line_of(const char* path) {
  std::string line;
  std::ifstream file(path);
  std::getline(file, line);
  return line;
}

/// Process numbers mean something only inside one of these.
std::string process_table() {
  std::array<char, 64> name{};
  const ssize_t count = ::readlink("/proc/self/ns/pid", name.data(), name.size() - 1);
  return first_line_of("/proc/sys/kernel/random/boot_id") + " " + (count > 0 ? name.data() : "");
}

/// Of proc(5), empty where that may not be read.
struct Process {
  std::string state;
  std::string start;  ///< in ticks since the machine did: numbers of processes are used again, this is not
};

Process process_of(const std::string& pid) {
  const std::string line = first_line_of(("/proc/" + pid + "/stat").c_str());
  const std::size_t name_end = line.rfind(')');
  if (name_end == std::string::npos) return {};
  constexpr int kFieldsBetween = 19;  // the state is field 3, the start field 22
  std::istringstream fields(line.substr(name_end + 1));
  Process process;
  fields >> process.state;
  for (int i = 0; i < kFieldsBetween; ++i) fields >> process.start;
  return process;
}

std::string host() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "unknown";
}

std::string describe_self() {
  const std::string pid = std::to_string(::getpid());
  return text_of("host ", host(), "\nprocess ", pid, "\nstarted ", process_of(pid).start, "\ntable ", process_table(),
                 "\njob ", environment("SLURM_JOB_ID"), "\nrestarts ", environment("SLURM_RESTART_COUNT"), "\nnumber ",
                 std::random_device{}(), std::random_device{}(), "\n");
}

using Facts = std::map<std::string, std::string>;

Facts facts_of(const std::string& text) {
  Facts facts;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t blank = line.find(' ');
    if (blank != std::string::npos) facts[line.substr(0, blank)] = line.substr(blank + 1);
  }
  return facts;
}

std::string name_of(Facts facts) {
  return text_of("process ", facts["process"], " on ", facts["host"],
                 facts["job"].empty() ? "" : text_of(" (Slurm job ", facts["job"], ")"));
}

/// here: its process exists on this machine.
enum class Life { here, alive, dead, unknown };

/// What can be told at once.
Life life_of(Facts other, Facts mine) {
  if (other["table"] == mine["table"] && !other["process"].empty()) {
    const bool exists = ::kill(static_cast<pid_t>(std::atol(other["process"].c_str())), 0) == 0 || errno == EPERM;
    const Process process = exists ? process_of(other["process"]) : Process();
    const bool is_it = process.start.empty() || process.start == other["started"];
    return exists && is_it && process.state != "Z" && process.state != "X" ? Life::here : Life::dead;
  }
  const auto restarts = [](const std::string& text) { return std::atol(text.c_str()); };
  if (!mine["job"].empty() && other["job"] == mine["job"] && restarts(other["restarts"]) < restarts(mine["restarts"]))
    return Life::dead;
  return Life::unknown;
}

struct Sign {
  std::string text;
  double time_s = 0;  ///< of the last touch, by the file system's clock
};

double seconds_of(const struct timespec& time) {
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

/// Opened each time: on a network file system only that asks the server. nullopt when there is none.
std::optional<Sign> read_sign(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return std::nullopt;
  Sign sign{std::string(kMaxOwnerBytes, '\0'), 0};
  const ssize_t count = ::read(descriptor, sign.text.data(), sign.text.size());
  sign.text.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
  struct stat status {};
  if (::fstat(descriptor, &status) == 0) sign.time_s = seconds_of(status.st_mtim);
  ::close(descriptor);
  return sign;
}

/// The file system's clock: of a file made just now.
double clock_of(const std::string& folder) {
  std::string probe = folder + "/.owner_clock_XXXXXX";
  const int descriptor = ::mkstemp(probe.data());
  if (descriptor < 0) throw StorageError("cannot create a file in '", folder, "': ", std::strerror(errno));
  struct stat status {};
  ::fstat(descriptor, &status);
  ::close(descriptor);
  ::unlink(probe.c_str());
  return seconds_of(status.st_mtim);
}

/// Takes a dead owner's file away. Two jobs may come to this at once: the second finds the first one's file in its
/// hands and puts it back.
void remove_dead(const std::string& path, const std::string& dead_text) {
  const std::string aside = text_of(path, ".dead-", std::random_device{}());
  if (::rename(path.c_str(), aside.c_str()) != 0) return;
  const auto taken = read_sign(aside);
  if (taken && taken->text != dead_text && ::link(aside.c_str(), path.c_str()) != 0)
    log::warning("cannot put back '", path, "': ", std::strerror(errno));
  ::unlink(aside.c_str());
}

}  // namespace

FolderOwner::FolderOwner(std::string key, std::string folder, double silence_s)
    : key_(std::move(key)),
      folder_(std::move(folder)),
      path_(folder_ + "/" + kFileName),
      silence_(silence_s),
      mine_(describe_self()) {
  make_directories(folder_);
  claim();
  toucher_ = std::thread([this] { touch_until_stopped(); });
}

FolderOwner::~FolderOwner() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  wake_.notify_all();
  toucher_.join();
  const auto sign = read_sign(path_);
  if (sign && sign->text == mine_) ::unlink(path_.c_str());
}

/// False when a file is there already.
bool FolderOwner::create() const {
  const int descriptor = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, kFileMode);
  if (descriptor < 0 && errno == EEXIST) return false;
  const bool written =
      descriptor >= 0 && ::write(descriptor, mine_.data(), mine_.size()) == static_cast<ssize_t>(mine_.size());
  const int reason = errno;
  const bool closed = descriptor >= 0 && ::close(descriptor) == 0;
  if (written && closed) return true;
  if (descriptor >= 0) ::unlink(path_.c_str());
  throw StorageError(key_, ": cannot write '", path_, "': ", std::strerror(reason));
}

void FolderOwner::claim() {
  const Facts mine = facts_of(mine_);
  const Seconds pause = std::min(silence_ / (2 * kSignsPerSilence), Seconds(1));
  std::optional<Sign> first;  // of the owner that is watched
  Seconds watched{0};
  while (!create()) {
    const auto sign = read_sign(path_);
    if (!sign && errno != ENOENT && errno != ESTALE)
      throw StorageError(key_, " '", folder_, "' belongs to somebody: cannot read '", path_,
                         "': ", std::strerror(errno));
    if (!sign) continue;  // gone again
    if (!first || first->text != sign->text) {
      first = sign;
      watched = Seconds(0);
    }
    const Facts owner = facts_of(sign->text);
    Life life = life_of(owner, mine);
    if (life == Life::unknown && sign->time_s != first->time_s) life = Life::alive;
    if (life == Life::unknown && (watched > silence_ || clock_of(folder_) - sign->time_s > silence_.count()))
      life = Life::dead;
    if (life == Life::here && watched > time_to_die()) life = Life::alive;
    if (life == Life::alive) refuse(owner);
    if (life == Life::dead) {
      log::info(key_, " '", folder_, "': its last owner, ", name_of(owner), ", is dead; taking over");
      remove_dead(path_, sign->text);
      continue;
    }
    if (watched == Seconds(0))
      log::info(key_, " '", folder_, "' belonged to ", name_of(owner), "; waiting up to ",
                (life == Life::here ? time_to_die() : silence_).count(), " s to see whether it lives");
    std::this_thread::sleep_for(pause);
    watched += pause;
  }
}

FolderOwner::Seconds FolderOwner::time_to_die() const {
  return std::min(kTimeToDie, silence_);
}

void FolderOwner::refuse(const std::map<std::string, std::string>& owner) const {
  throw ConfigError(key_, " '", folder_, "' is in use by another job, ", name_of(owner),
                    ": wait for it or stop it, or name another ", key_, " ('", path_, "')");
}

void FolderOwner::touch_until_stopped() {
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, silence_ / kSignsPerSilence, [this] { return stopped_; })) {
    const auto sign = read_sign(path_);
    if (sign && sign->text == mine_) ::utimensat(AT_FDCWD, path_.c_str(), nullptr, 0);
  }
}

void FolderOwner::require_ours() const {
  const auto sign = read_sign(path_);
  if (!sign || sign->text == mine_) return;  // removed by hand: nobody else claims it
  throw ConfigError(key_, " '", folder_, "' was taken over by another job, ", name_of(facts_of(sign->text)),
                    ", because this one gave no sign for ", silence_.count(),
                    " s; this one stops and leaves the folder to it");
}

}  // namespace osler
