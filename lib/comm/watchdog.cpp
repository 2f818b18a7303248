#include "comm/watchdog.hpp"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/log.hpp"
#include "comm/mpi_channel.hpp"
#include "comm/world.hpp"

namespace osler::comm {
namespace {

constexpr std::chrono::milliseconds kTick{500};
constexpr std::chrono::milliseconds kTickWhileAsking{20};
/// A round that comes so late was not merely scheduled late.
constexpr double kSuspendedS = 5;
constexpr std::size_t kMostNamed = 8;
constexpr int kAskTag = 1;
constexpr int kAnswerTag = 2;

/// The sections of all threads of this process.
struct Sections {
  std::mutex mutex;
  std::list<const CollectiveSection*> open;
  std::list<const WatchedDevice*> devices;
  double left_s = monotonic_s();  ///< when the last one was left
};

// Never destroyed: threads may end after the program's statics.
Sections& sections() {
  static Sections& instance = *new Sections;
  return instance;
}

thread_local CollectiveSection* innermost = nullptr;

std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < std::min(names.size(), kMostNamed); ++i) text += (i == 0 ? "" : ", ") + names[i];
  return names.size() > kMostNamed ? text_of(text, " and ", names.size() - kMostNamed, " more") : text;
}

}  // namespace

CollectiveSection::CollectiveSection(const char* name) : name_(name), moved_s_(monotonic_s()), outer_(innermost) {
  innermost = this;
  const std::lock_guard lock(sections().mutex);
  sections().open.push_back(this);
}

CollectiveSection::~CollectiveSection() {
  note_progress();
  innermost = outer_;
  const std::lock_guard lock(sections().mutex);
  sections().open.remove(this);
  sections().left_s = moved_s_;
}

void CollectiveSection::note_progress() {
  const double now_s = monotonic_s();
  for (CollectiveSection* section = innermost; section != nullptr; section = section->outer_) section->moved_s_ = now_s;
}

WatchedDevice::WatchedDevice(std::function<Place()> look) : look_(std::move(look)) {
  const std::lock_guard lock(sections().mutex);
  sections().devices.push_back(this);
}

WatchedDevice::~WatchedDevice() {
  const std::lock_guard lock(sections().mutex);
  sections().devices.remove(this);
}

Place place_of_this_process() {
  Sections& self = sections();
  const std::lock_guard lock(self.mutex);
  Place longest;
  for (const auto* section : self.open) {
    const double for_s = monotonic_s() - section->moved_s();
    if (longest.section.empty() || for_s > longest.for_s) longest = {section->name(), for_s, ""};
  }
  for (const auto* device : self.devices) {
    Place there = device->look();
    if (!there.failure.empty()) return there;
    if (!there.section.empty() && (longest.section.empty() || there.for_s > longest.for_s)) longest = std::move(there);
  }
  if (longest.section.empty()) longest.for_s = monotonic_s() - self.left_s;
  return longest;
}

class Watchdog::Thread {
 public:
  Thread(Group& host, double timeout_s)
      : timeout_s_(timeout_s), rank_(host.rank()), hosts_(host.all_gather_bytes(World::host_name())) {
    check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &communicator_), "MPI_Comm_dup");
    check_mpi(MPI_Comm_set_errhandler(communicator_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
    thread_ = std::thread([this] { watch(); });
  }
  ~Thread() {
    {
      const std::lock_guard lock(mutex_);
      leaving_ = true;
    }
    wake_.notify_one();
    thread_.join();
    if (std::uncaught_exceptions() == 0) MPI_Comm_free(&communicator_);
  }

 private:
  void watch() {
    std::unique_lock lock(mutex_);
    while (!wake_.wait_for(lock, kTick, [&] { return leaving_; })) {
      // A job that was suspended has its time begin anew: that nothing moved was nobody's fault.
      if (since_round_.restart() > kSuspendedS) awake_.restart();
      answer_all();
      const Place here = place_of_this_process();
      if (!here.failure.empty()) {
        log::error(here.failure, ". The job ends; started again it goes on from its newest checkpoint");
        World::abort(static_cast<int>(ExitCode::peer));
      }
      if (!here.section.empty() && std::min(here.for_s, awake_.elapsed_s()) > timeout_s_) expire(here);
    }
  }

  /// Asks all; ends the job unless the section has moved meanwhile.
  void expire(const Place& stuck) {
    std::map<int, Message> answers;
    const auto num_others = hosts_.size() - 1;
    for (int peer = 0; peer < static_cast<int>(hosts_.size()); ++peer)
      if (peer != rank_) send(peer, kAskTag, "");
    const Stopwatch asked;
    while (answers.size() < num_others && asked.elapsed_s() < kAnswerS) {
      answer_all();
      while (const auto message = receive(kAnswerTag)) answers[message->from] = *message;
      std::this_thread::sleep_for(kTickWhileAsking);
    }
    since_round_.restart();
    if (const Place now = place_of_this_process(); now.section.empty() || now.for_s < timeout_s_) return;
    log::error(stuck.section, " has not moved for ", duration_text(stuck.for_s),
               " (run.peer_timeout_s): ", verdict(stuck.section, answers),
               ". The job ends; started again it goes on from its newest checkpoint");
    World::abort(static_cast<int>(ExitCode::peer));
  }

  struct Message {
    int from = 0;
    std::string text;  ///< of an answer: the section, a newline, and the place in words
  };

  std::string verdict(const std::string& section, const std::map<int, Message>& answers) const {
    std::vector<std::string> silent, elsewhere;
    for (int peer = 0; peer < static_cast<int>(hosts_.size()); ++peer) {
      const auto answer = answers.find(peer);
      if (peer == rank_) continue;
      if (answer == answers.end()) {
        silent.push_back(text_of("rank ", peer, " on host ", hosts_[static_cast<std::size_t>(peer)]));
      } else if (const auto end = answer->second.text.find('\n'); answer->second.text.substr(0, end) != section) {
        elsewhere.push_back(answer->second.text.substr(end + 1));
      }
    }
    if (!silent.empty()) return "no answer from " + listed(silent);
    if (!elsewhere.empty()) return "all ranks answer, but " + listed(elsewhere);
    return "all ranks answer and are in the same place: the network between them may be down";
  }

  void answer_all() {
    while (const auto ask = receive(kAskTag)) {
      const Place here = place_of_this_process();
      const std::string words = here.section.empty() ? "in no collective" : "in " + here.section;
      send(ask->from, kAnswerTag,
           text_of(here.section, "\n[", log::identity(), "] is ", words, " since ", duration_text(here.for_s)));
    }
  }

  // A lost peer takes nothing any more: messages are not waited for, and what they are read from stays.
  void send(int peer, int tag, const std::string& text) {
    sent_.push_back(text);
    MPI_Request request = MPI_REQUEST_NULL;
    MPI_Isend(sent_.back().data(), static_cast<int>(text.size()), MPI_BYTE, peer, tag, communicator_, &request);
    if (request != MPI_REQUEST_NULL) MPI_Request_free(&request);
  }

  std::optional<Message> receive(int tag) {
    int found = 0;
    MPI_Status status;
    if (MPI_Iprobe(MPI_ANY_SOURCE, tag, communicator_, &found, &status) != MPI_SUCCESS || !found) return std::nullopt;
    int size = 0;
    MPI_Get_count(&status, MPI_BYTE, &size);
    Message message{status.MPI_SOURCE, std::string(static_cast<std::size_t>(size), '\0')};
    MPI_Recv(message.text.data(), size, MPI_BYTE, status.MPI_SOURCE, tag, communicator_, MPI_STATUS_IGNORE);
    return message;
  }

  double timeout_s_;
  int rank_;
  std::vector<std::string> hosts_;
  MPI_Comm communicator_ = MPI_COMM_NULL;
  Stopwatch since_round_;
  Stopwatch awake_;
  std::list<std::string> sent_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool leaving_ = false;
  std::thread thread_;
};

Watchdog::Watchdog(Group& host, double timeout_s) {
  if (host.size() > 1 && threads_may_communicate()) thread_ = std::make_unique<Thread>(host, timeout_s);
}

Watchdog::~Watchdog() = default;

}  // namespace osler::comm
