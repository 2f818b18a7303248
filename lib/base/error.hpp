// Errors by who can mend them, each with its exit code (docs/formats.md). Local: nothing here communicates.
#pragma once

#include <stdexcept>
#include <string>

#include "base/text_of.hpp"

namespace osler {

/// The only exit codes of the program. `requeue` means: state saved, run me again.
enum class ExitCode : int {
  done = 0,
  usage = 2,
  data = 3,
  checkpoint = 4,
  storage = 5,
  numerical = 6,
  peer = 7,
  internal = 8,
  requeue = 75,
};

/// Carries one message of the form "what, where, what to do" and the code to leave with.
class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ExitCode code() const noexcept { return code_; }

 private:
  ExitCode code_;
};

template <ExitCode kCode>
class ErrorOf : public Error {
 public:
  template <class... Args>
  explicit ErrorOf(const Args&... args) : Error(kCode, text_of(args...)) {}
};

using ConfigError = ErrorOf<ExitCode::usage>;           ///< command line, config file, impossible layout
using DataError = ErrorOf<ExitCode::data>;              ///< corpora, token shards, benchmarks, weights, tokenizer
using CheckpointError = ErrorOf<ExitCode::checkpoint>;  ///< no usable checkpoint
using StorageError = ErrorOf<ExitCode::storage>;        ///< full, read-only, permissions, I/O
using NumericalError = ErrorOf<ExitCode::numerical>;    ///< NaN/Inf stop
using CommError = ErrorOf<ExitCode::peer>;              ///< MPI, NCCL, a lost peer
using InternalError = ErrorOf<ExitCode::internal>;      ///< our bug

/// Throws InternalError with file and line: for what only a programming error can break.
#define OSLER_CHECK(condition, ...)                                                                            \
  do {                                                                                                         \
    if (!(condition))                                                                                          \
      throw ::osler::InternalError(__FILE__, ":", __LINE__, ": check failed: " #condition " ", ##__VA_ARGS__); \
  } while (false)

}  // namespace osler
