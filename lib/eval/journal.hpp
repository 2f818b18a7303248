// Finished work of an evaluation, on disk as it is finished: the same command goes on from here after a kill, on any
// number of ranks. One file per rank and JSON object per line, which ends with a sum of itself; a line that was torn by
// a kill or damaged is passed over, so that its item is asked again. Local.
#pragma once

#include <string>
#include <vector>

#include "eval/json_record.hpp"

namespace osler::eval {

class Journal {
 public:
  /// Opens `folder`/rank_%05d.jsonl to append to; the folder is made if missing. `writes` false: append() does nothing
  /// (a rank whose neighbour writes the same). Throws StorageError.
  Journal(const std::string& folder, int rank, bool writes);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;
  /// On disk when it returns. Throws StorageError.
  void append(const std::vector<Json>& records);

  /// Every sound line of every rank's file, without its sum, in no order that matters; empty without a folder. Warns of
  /// the others, by file and line.
  static std::string read(const std::string& folder);
  /// Its records.
  static std::vector<Json> parse(const std::string& text);

 private:
  std::string path_;
  int file_ = -1;
};

}  // namespace osler::eval
