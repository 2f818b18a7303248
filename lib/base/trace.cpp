#include "base/trace.hpp"

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/output_place.hpp"
#include "base/publish.hpp"

namespace osler::trace {
namespace {

constexpr std::array<const char*, 3> kLaneNames = {"compute", "communication", "storage"};

struct File {
  std::mutex mutex;
  std::FILE* stream = nullptr;
  int rank = 0;
};

// Never destroyed: threads may end after the program's statics.
File& file() {
  static File& instance = *new File;
  return instance;
}

template <class Clock>
std::int64_t ns_of() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch()).count();
}

/// Names of the process and its lanes, for the viewer.
void write_names(std::FILE* stream, int rank) {
  std::fprintf(stream, R"([{"name":"process_name","ph":"M","pid":%d,"tid":0,"ts":0,"args":{"name":"rank %d"}})", rank,
               rank);
  for (std::size_t lane = 0; lane < kLaneNames.size(); ++lane) {
    std::fprintf(stream,
                 ",\n"
                 R"({"name":"thread_name","ph":"M","pid":%d,"tid":%zu,"ts":0,"args":{"name":"%s"}})",
                 rank, lane, kLaneNames[lane]);
  }
}

/// With the mutex held.
void close(File& self) {
  if (self.stream == nullptr) return;
  detail::is_on = false;
  bool failed = std::fputs("]\n", self.stream) < 0;
  failed = std::ferror(self.stream) != 0 || failed;
  failed = std::fclose(self.stream) != 0 || failed;
  self.stream = nullptr;
  if (failed) log::warning("the trace is not whole: ", std::strerror(errno));
}

}  // namespace

namespace detail {

std::atomic<bool> is_on{false};

// Steps of the wall clock must not bend spans: it is read once.
std::int64_t now_ns() {
  static const std::int64_t epoch_ns = ns_of<std::chrono::system_clock>() - ns_of<std::chrono::steady_clock>();
  return epoch_ns + ns_of<std::chrono::steady_clock>();
}

void write(const char* name, Lane lane, std::int64_t begin_ns) {
  const std::int64_t duration_ns = now_ns() - begin_ns;
  constexpr long long kNsPerUs = 1000;
  File& self = file();
  const std::lock_guard lock(self.mutex);
  if (self.stream == nullptr) return;
  std::fprintf(self.stream,
               ",\n"
               R"({"name":"%s","ph":"X","pid":%d,"tid":%d,"ts":%lld.%03lld,"dur":%lld.%03lld})",
               name, self.rank, static_cast<int>(lane), begin_ns / kNsPerUs, begin_ns % kNsPerUs,
               duration_ns / kNsPerUs, duration_ns % kNsPerUs);
}

}  // namespace detail

void start(const std::string& path, int rank) {
  std::array<char, 32> suffix{};
  std::snprintf(suffix.data(), suffix.size(), ".rank_%05d.json", rank);
  const std::string name = path + suffix.data();
  make_directories(folder_of(name));
  File& self = file();
  const std::lock_guard lock(self.mutex);
  close(self);
  std::FILE* stream = std::fopen(name.c_str(), "w");
  if (stream == nullptr) throw StorageError("cannot write the trace '", name, "': ", std::strerror(errno));
  write_names(stream, rank);
  self.stream = stream;
  self.rank = rank;
  static const bool closes_at_exit = std::atexit(stop) == 0;
  (void)closes_at_exit;
  detail::now_ns();
  detail::is_on = true;
}

void stop() {
  File& self = file();
  const std::lock_guard lock(self.mutex);
  close(self);
}

}  // namespace osler::trace
