// The benchmarks that `osler tokenize` keeps its text apart from: their items, and what is told of those that the text
// overlaps. Never any text of them.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "config/options.hpp"
#include "data/decontaminate.hpp"
#include "data/overlap_index.hpp"

namespace osler::app {

/// Reads the files of tokenize.decontaminate. The name of one that has none is its file's, up to the first point. A
/// name of evaluation's tasks says what the file is; of others the first reader that accepts the whole file does.
/// Local. Throws ConfigError for names, DataError (file, line) for files.
std::vector<data::Benchmark> load_benchmarks(const std::vector<config::NamedPath>& named);

data::OverlapRules overlap_rules_of(const config::TokenizeOptions& options);

/// "NAME:SHA-256 ..." when documents are removed, else empty: what shards are stamped with.
std::string stamp_of(const std::vector<data::Benchmark>& benchmarks, config::DecontaminateAction action);

/// "decontamination" of tokenize.json.
nlohmann::ordered_json contamination_summary(const std::vector<data::Benchmark>& benchmarks,
                                             const data::OverlapIndex& index, config::DecontaminateAction action,
                                             const data::OverlapJudgement& judgement,
                                             const std::vector<std::string>& sources);

/// {contamination_<name>.jsonl: its lines}, one object per touched item: docs/formats.md.
std::map<std::string, std::string> contamination_files(const std::vector<data::Benchmark>& benchmarks,
                                                       const data::OverlapJudgement& judgement);

/// The summary for people, on stderr.
void tell_contamination(const nlohmann::ordered_json& summary);

}  // namespace osler::app
