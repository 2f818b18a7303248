// A time line of the process as Chrome trace events (chrome://tracing, ui.perfetto.dev): what ran when, and beside
// what. Names only, never contents. Local: one file per rank, no communication; any thread may write.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

namespace osler::trace {

/// The rows of the picture. Spans of one lane may overlap when two threads share it.
enum class Lane : int { compute = 0, communication = 1, storage = 2 };

/// Opens PATH.rank_00000.json and records spans from now on: a JSON array of complete events ("ph": "X") with pid =
/// rank, tid = lane, ts and dur in microseconds since the epoch, so that files of several ranks can be laid side by
/// side. Missing folders are made. The array is closed by stop(), or at exit; viewers read one that a killed process
/// left open. Throws StorageError.
void start(const std::string& path, int rank);
void stop();  ///< nothing when none was started

namespace detail {
extern std::atomic<bool> is_on;
std::int64_t now_ns();
void write(const char* name, Lane lane, std::int64_t begin_ns);
}  // namespace detail

/// From construction to destruction; one branch when no trace is written. `name` is a literal.
class Span {
 public:
  explicit Span(const char* name, Lane lane = Lane::compute)
      : name_(name), lane_(lane), begin_ns_(detail::is_on.load(std::memory_order_relaxed) ? detail::now_ns() : 0) {}
  ~Span() {
    if (begin_ns_ != 0) detail::write(name_, lane_, begin_ns_);
  }
  Span(const Span&) = delete;
  Span& operator=(const Span&) = delete;

 private:
  const char* name_;
  Lane lane_;
  std::int64_t begin_ns_;
};

}  // namespace osler::trace
