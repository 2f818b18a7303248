#include "eval/scores_table.hpp"

#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "eval/csv.hpp"
#include "store/hdf5_file.hpp"

namespace osler::eval {

namespace {

using Strings = std::vector<std::string>;
using Integers = std::vector<std::int64_t>;
using Doubles = std::vector<double>;

struct Row {
  const TaskScore* score;
  const MetricScore* metric;
};

template <class Values, class Get>
ScoresColumn column(const std::string& name, const std::vector<Row>& rows, Get get) {
  Values values;
  for (const Row& row : rows) values.push_back(get(row));
  return {name, std::move(values)};
}

std::string cell(const std::string& value) {
  return csv_field(value);
}
std::string cell(std::int64_t value) {
  return std::to_string(value);
}
std::string cell(std::uint64_t value) {
  return std::to_string(value);
}
std::string cell(double value) {
  return std::isnan(value) ? "" : nlohmann::json(value).dump();
}

/// "medprompt", or "medprompt-no-knn-no-cot" with parts switched off.
std::string strategy_text(const config::EvalOptions& options) {
  std::string text(config::name_of(options.strategy));
  if (options.strategy != config::Strategy::medprompt) return text;
  if (!options.medprompt_knn) text += "-no-knn";
  if (!options.medprompt_cot) text += "-no-cot";
  if (!options.medprompt_shuffle) text += "-no-shuffle";
  return text;
}

std::string scoring_text(const config::EvalOptions& options) {
  return std::string(options.answers_by_generation() ? "generation" : config::name_of(options.scoring));
}

DType number_type(const ScoresColumn& column) {
  if (std::holds_alternative<Doubles>(column.values)) return DType::fp64;
  return std::holds_alternative<Integers>(column.values) ? DType::i64 : DType::u64;
}

}  // namespace

std::vector<ScoresColumn> scores_columns(const RunIdentity& identity, const Scores& scores) {
  std::vector<Row> rows;
  for (const auto* list : {&scores.tasks, &scores.parts, &scores.groups})
    for (const TaskScore& score : *list)
      for (const MetricScore& metric : score.metrics) rows.push_back({&score, &metric});
  const auto same = [&](const std::string& name, const auto& value) {
    using Value = std::decay_t<decltype(value)>;
    return column<std::vector<Value>>(name, rows, [&](const Row&) { return value; });
  };
  const auto of_estimate = [&](const std::string& name, double (*get)(const Estimate&)) {
    return column<Doubles>(name, rows, [&](const Row& row) { return get(row.metric->estimate); });
  };
  return {
      same("schema_version", kScoresSchemaVersion),
      same("model", identity.model),
      same("tokens_seen", identity.tokens_seen),
      same("fine_tuned", std::int64_t{identity.is_fine_tuned}),
      same("neftune_alpha", identity.neftune_alpha),
      column<Strings>("task", rows, [](const Row& row) { return row.score->name; }),
      column<Strings>("subset", rows, [](const Row& row) { return row.score->subset; }),
      same("strategy", strategy_text(identity.options)),
      same("scoring", scoring_text(identity.options)),
      same("shots", identity.options.num_shots()),
      column<Strings>("metric", rows, [](const Row& row) { return row.metric->metric; }),
      of_estimate("value", [](const Estimate& e) { return e.value; }),
      of_estimate("stderr",
                  [](const Estimate& e) { return e.std_error.value_or(std::numeric_limits<double>::quiet_NaN()); }),
      of_estimate("ci_low", [](const Estimate& e) { return e.low; }),
      of_estimate("ci_high", [](const Estimate& e) { return e.high; }),
      column<Integers>("n", rows, [](const Row& row) { return row.metric->estimate.n; }),
      column<Integers>("unparsed", rows, [](const Row& row) { return row.score->num_unparsed; }),
      same("seed", identity.options.seed),
      same("config_hash", identity.config_hash),
      same("build", identity.build),
      same("date", identity.date),
  };
}

std::string scores_csv(const std::vector<ScoresColumn>& columns) {
  std::string text;
  for (std::size_t c = 0; c < columns.size(); ++c) {
    if (c > 0) text += ',';
    text += columns[c].name;
  }
  text += '\n';
  const std::size_t num_rows = std::visit([](const auto& values) { return values.size(); }, columns.front().values);
  for (std::size_t r = 0; r < num_rows; ++r) {
    for (std::size_t c = 0; c < columns.size(); ++c) {
      if (c > 0) text += ',';
      text += std::visit([&](const auto& values) { return cell(values[r]); }, columns[c].values);
    }
    text += '\n';
  }
  return text;
}

std::string scores_hdf5(const std::vector<ScoresColumn>& columns) {
  store::Image image;
  std::string names;
  std::int64_t num_rows = 0;
  for (const ScoresColumn& column : columns) {
    names += (names.empty() ? "" : ",") + column.name;
    num_rows = std::visit([](const auto& values) { return static_cast<std::int64_t>(values.size()); }, column.values);
    if (const auto* strings = std::get_if<Strings>(&column.values))
      image.declare_text(column.name, nlohmann::json(*strings).dump());
    else
      image.declare(column.name, number_type(column), {num_rows});
  }
  image.set_attributes("", {{"format", std::string("osler-scores")},
                            {"schema_version", kScoresSchemaVersion},
                            {"num_rows", num_rows},
                            {"columns", names}});
  image.seal();
  for (const ScoresColumn& column : columns) {
    std::visit(
        [&](const auto& values) {
          if constexpr (!std::is_same_v<std::decay_t<decltype(values)>, Strings>)
            if (!values.empty())
              std::memcpy(image.bytes_of(column.name).data(), values.data(), values.size() * sizeof(values[0]));
        },
        column.values);
  }
  const auto bytes = image.bytes();
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

}  // namespace osler::eval
