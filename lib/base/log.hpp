// Lines for people, on stderr. Rank 0 speaks; warnings and errors of other ranks carry their rank.
#pragma once

#include <string>

#include "base/text_of.hpp"

namespace osler::log {

/// Call once after MPI is up. `where` names this process in a multi-rank run, e.g. "rank 5/16 dp1 host".
void set_identity(int rank, int world_size, const std::string& where);
int rank();
std::string identity();  ///< `where` of a multi-rank run, else ""

void write_info(const std::string& line);     // rank 0 only
void write_warning(const std::string& line);  // every rank, prefixed
void write_error(const std::string& line);    // every rank, prefixed, flushed

template <class... Args>
void info(const Args&... args) {
  write_info(text_of(args...));
}
template <class... Args>
void warning(const Args&... args) {
  write_warning(text_of(args...));
}
template <class... Args>
void error(const Args&... args) {
  write_error(text_of(args...));
}

}  // namespace osler::log
