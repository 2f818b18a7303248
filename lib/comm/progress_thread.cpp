#include "comm/progress_thread.hpp"

#ifdef __linux__
#include <sys/prctl.h>
#endif

#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <utility>

namespace osler::comm {
namespace {

struct Job {
  std::function<void()> task;
  bool is_done = false;
  std::exception_ptr error;
};

/// The kernel lengthens sleeps by up to 50 us to wake fewer times: five times the shortest pause between two looks.
void sleep_precisely() {
#ifdef __linux__
  constexpr unsigned long kSlackNs = 1000;
  prctl(PR_SET_TIMERSLACK, kSlackNs);
#endif
}

}  // namespace

struct ProgressThread::Queue {
  std::mutex mutex;
  std::condition_variable filled;         ///< or to be left
  std::condition_variable finished;       ///< a job
  std::deque<std::shared_ptr<Job>> jobs;  ///< the first one is being worked on
  bool leaving = false;
  std::exception_ptr broken_by;

  void work() {
    sleep_precisely();
    std::unique_lock lock(mutex);
    while (true) {
      filled.wait(lock, [&] { return leaving || !jobs.empty(); });
      if (jobs.empty()) return;
      const std::shared_ptr<Job> job = jobs.front();
      const bool begins = !broken_by;
      lock.unlock();
      std::exception_ptr error;
      if (begins) {
        try {
          job->task();
        } catch (...) {
          error = std::current_exception();
        }
      }
      job->task = nullptr;  // lets go of its tensors
      lock.lock();
      if (error) broken_by = error;
      job->error = broken_by;
      job->is_done = true;
      jobs.pop_front();
      finished.notify_all();
    }
  }

  class Ticket final : public Pending {
   public:
    Ticket(std::shared_ptr<Queue> queue, std::shared_ptr<Job> job) : queue_(std::move(queue)), job_(std::move(job)) {}
    void wait() override {
      std::unique_lock lock(queue_->mutex);
      queue_->finished.wait(lock, [&] { return job_->is_done; });
      if (job_->error) std::rethrow_exception(job_->error);
    }

   private:
    std::shared_ptr<Queue> queue_;
    std::shared_ptr<Job> job_;
  };
};

ProgressThread::ProgressThread() : queue_(std::make_shared<Queue>()), thread_([queue = queue_] { queue->work(); }) {}

ProgressThread::~ProgressThread() {
  bool is_idle = false;
  {
    const std::lock_guard lock(queue_->mutex);
    queue_->leaving = true;
    is_idle = queue_->jobs.empty();
  }
  queue_->filled.notify_one();
  if (is_idle || std::uncaught_exceptions() == 0)
    thread_.join();
  else
    thread_.detach();
}

std::unique_ptr<Pending> ProgressThread::run(std::function<void()> task) {
  auto job = std::make_shared<Job>();
  job->task = std::move(task);
  {
    const std::lock_guard lock(queue_->mutex);
    queue_->jobs.push_back(job);
  }
  queue_->filled.notify_one();
  return std::make_unique<Queue::Ticket>(queue_, std::move(job));
}

}  // namespace osler::comm
