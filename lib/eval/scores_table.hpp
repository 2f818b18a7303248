// scores.csv and scores.h5: the same table, one row per task or group and metric.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "eval/result_files.hpp"

namespace osler::eval {

struct ScoresColumn {
  std::string name;
  std::variant<std::vector<std::string>, std::vector<std::int64_t>, std::vector<std::uint64_t>, std::vector<double>>
      values;
};

/// Columns of equal length, in file order. A standard error that does not exist (n = 1) is NaN.
std::vector<ScoresColumn> scores_columns(const RunIdentity& identity, const Scores& scores);
std::string scores_csv(const std::vector<ScoresColumn>& columns);
/// HDF5 file image. A numeric column is a dataset of that name; a column of strings is a scalar text dataset that holds
/// a JSON list. Root attributes: format, schema_version, num_rows, columns.
std::string scores_hdf5(const std::vector<ScoresColumn>& columns);

}  // namespace osler::eval
