#include "eval/team.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/log.hpp"

namespace osler::eval {

namespace {

constexpr double kProgressEvery_s = 5;  // often enough to see it live, seldom enough for a log file

/// Pieces done and the time left.
class Progress {
 public:
  Progress(std::string what, std::size_t num_before, std::size_t num_all)
      : what_(std::move(what)), num_before_(num_before), num_all_(num_all) {}

  void note(std::size_t num_done) {
    const bool is_last = num_before_ + num_done == num_all_;
    if (!is_last && since_line_.elapsed_s() < kProgressEvery_s) return;
    since_line_.restart();
    const double elapsed = since_start_.elapsed_s();
    const double left = elapsed * static_cast<double>(num_all_ - num_before_ - num_done) /
                        static_cast<double>(std::max<std::size_t>(num_done, 1));
    log::info("evaluate: ", what_, " ", num_before_ + num_done, "/", num_all_, ", ",
              is_last ? "in " + duration_text(elapsed) : "ETA " + duration_text(left));
  }

 private:
  std::string what_;
  std::size_t num_before_;
  std::size_t num_all_;
  Stopwatch since_start_;
  Stopwatch since_line_;
};

void put(std::string& bytes, std::uint64_t value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

std::uint64_t take(const std::string& bytes, std::size_t& at) {
  std::uint64_t value = 0;
  OSLER_CHECK(at + sizeof(value) <= bytes.size());
  std::memcpy(&value, bytes.data() + at, sizeof(value));
  at += sizeof(value);
  return value;
}

}  // namespace

std::vector<std::string> run_pieces(const Team& team, const std::vector<bool>& is_done, const std::string& what,
                                    const std::function<std::string(std::optional<std::size_t>)>& work) {
  std::vector<std::size_t> pending;
  for (std::size_t p = 0; p < is_done.size(); ++p)
    if (!is_done[p]) pending.push_back(p);
  const auto replicas = static_cast<std::size_t>(team.num_replicas);
  const auto replica = static_cast<std::size_t>(team.replica);
  Progress progress(what, is_done.size() - pending.size(), is_done.size());
  std::string mine;
  for (std::size_t begin = 0; begin < pending.size(); begin += replicas) {
    if (team.ranks.all_reduce_value(std::int64_t{team.wants_stop() ? 1 : 0}, comm::ReduceOp::max) > 0)
      throw StopRequested{};
    comm::agree_after(team.ranks, [&] {
      if (begin + replica >= pending.size()) {
        work(std::nullopt);
        return;
      }
      const std::size_t piece = pending[begin + replica];
      const std::string bytes = work(piece);
      put(mine, piece);
      put(mine, bytes.size());
      mine += bytes;
    });
    progress.note(std::min(begin + replicas, pending.size()));
  }
  std::vector<std::string> pieces(is_done.size());
  for (const std::string& bytes : team.ranks.all_gather_bytes(mine)) {
    for (std::size_t at = 0; at < bytes.size();) {
      const std::uint64_t piece = take(bytes, at);
      const std::uint64_t size = take(bytes, at);
      OSLER_CHECK(piece < pieces.size() && at + size <= bytes.size());
      pieces[piece] = bytes.substr(at, size);
      at += size;
    }
  }
  return pieces;
}

}  // namespace osler::eval
