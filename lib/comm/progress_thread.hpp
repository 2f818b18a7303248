// A thread that works off tasks in the order in which they came, and sleeps while there is none. Local.
#pragma once

#include <functional>
#include <memory>
#include <thread>

#include "comm/group.hpp"

namespace osler::comm {

class ProgressThread {
 public:
  ProgressThread();
  /// Finishes what is queued and joins. With an exception in flight a peer may never answer: then a thread that still
  /// has work is left to itself, and the process must end without waiting for it.
  ~ProgressThread();
  ProgressThread(const ProgressThread&) = delete;
  ProgressThread& operator=(const ProgressThread&) = delete;

  /// Queues a task. What it throws reaches its wait() and that of every later task, which is not begun any more.
  std::unique_ptr<Pending> run(std::function<void()> task);

 private:
  struct Queue;
  std::shared_ptr<Queue> queue_;  ///< shared with the thread, which may outlive this
  std::thread thread_;
};

}  // namespace osler::comm
