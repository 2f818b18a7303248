// Keeps two jobs from writing into one folder. The owner writes its name into <folder>/.owner and touches that file
// from time to time; a job that finds one there asks whether its owner lives. No file locks: network file systems may
// have none, or keep those of a dead node. Local; one process of a job.
#pragma once

#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <thread>

namespace osler {

class FolderOwner {
 public:
  static constexpr const char* kFileName = ".owner";

  /// Makes the folder if it is missing and claims it. An owner is dead when its process is gone from this machine, when
  /// it was an earlier start of the same Slurm job, or, where neither can be told, when it gave no sign for `silence_s`
  /// seconds by the file system's clock: that long a start may take after a node died. One whose process
  /// exists here is given ten seconds to go: it may have been killed just now. Throws ConfigError when another job
  /// lives there, StorageError when the folder cannot be written. `key` names the option in messages.
  FolderOwner(std::string key, std::string folder, double silence_s);
  ~FolderOwner();  ///< gives the folder up
  FolderOwner(const FolderOwner&) = delete;
  FolderOwner& operator=(const FolderOwner&) = delete;

  /// Before writing what another owner would lose: throws ConfigError when one has taken the folder over, as it may
  /// when this process was stopped for `silence_s`.
  void require_ours() const;

 private:
  using Seconds = std::chrono::duration<double>;

  void claim();
  bool create() const;
  Seconds time_to_die() const;
  [[noreturn]] void refuse(const std::map<std::string, std::string>& owner) const;
  void touch_until_stopped();

  std::string key_;
  std::string folder_;
  std::string path_;
  Seconds silence_;
  std::string mine_;  ///< what the file says while it is ours
  std::thread toucher_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopped_ = false;
};

}  // namespace osler
