#include "tokenize_report.hpp"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "base/error.hpp"
#include "base/log.hpp"

namespace osler::app {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kMaxProblemsInReport = 1000;
constexpr std::size_t kMaxProblemsTold = 20;

Json to_json(const UnitResult& result) {
  Json json;
  json["unit"] = result.unit;
  json["documents"] = result.scan.num_documents;
  json["text_bytes"] = result.scan.text_bytes;
  json["part_lines"] = result.scan.part_lines;
  json["dropped"] = Json::object();
  for (const auto& [reason, count] : result.scan.dropped) json["dropped"][text::name_of(reason)] = count;
  json["identifiers"] = result.scan.identifiers;
  json["problems"] = Json::array();
  for (const data::PartProblem& problem : result.scan.problems) {
    json["problems"].push_back({{"part", problem.part},
                                {"file", problem.problem.file},
                                {"line", problem.problem.line},
                                {"reason", text::name_of(problem.problem.reason)},
                                {"detail", problem.problem.detail}});
  }
  return json;
}

/// The ranks' arrays of unit results as one, by unit.
std::vector<Json> gather_units(comm::Group& group, const Json& mine) {
  // File names need not be UTF-8; what JSON cannot hold is replaced.
  const std::string packed = mine.dump(-1, ' ', false, Json::error_handler_t::replace);
  std::vector<Json> units;
  for (const std::string& part : group.all_gather_bytes(packed)) {
    for (Json& unit : Json::parse(part)) units.push_back(std::move(unit));
  }
  std::sort(units.begin(), units.end(), [](const Json& a, const Json& b) { return a["unit"] < b["unit"]; });
  return units;
}

void add_problems(Json& report, Json& unit, const data::WorkUnit& work,
                  std::map<std::int32_t, std::int64_t>& lines_of_file) {
  std::vector<std::int64_t> lines_before;
  for (std::size_t p = 0; p < work.parts.size(); ++p) {
    std::int64_t& lines = lines_of_file[work.parts[p].file];
    lines_before.push_back(lines);
    lines += unit["part_lines"].at(p).get<std::int64_t>();
  }
  for (Json& problem : unit["problems"]) {
    if (report["problems"].size() >= kMaxProblemsInReport) return;
    const auto part = problem["part"].get<std::size_t>();
    const auto line = problem["line"].get<std::int64_t>();
    problem["line"] = line > 0 ? line + lines_before.at(part) : 0;
    problem.erase("part");
    report["problems"].push_back(std::move(problem));
  }
}

void add_count(Json& counts, const std::string& name, std::int64_t more) {
  counts[name] = (counts.contains(name) ? counts[name].get<std::int64_t>() : 0) + more;
}

std::string line_of(const Json& problem) {
  const auto line = problem["line"].get<std::int64_t>();
  return text_of(problem["file"].get<std::string>(), line > 0 ? text_of(":", line) : "", ": ",
                 problem["reason"].get<std::string>(), ": ", problem["detail"].get<std::string>());
}

}  // namespace

Json gather_scan(comm::Group& group, const data::Corpus& corpus, const std::vector<data::WorkUnit>& units,
                 const std::vector<UnitResult>& mine, config::Identifiers identifiers) {
  Json packed = Json::array();
  for (const UnitResult& result : mine) packed.push_back(to_json(result));
  Json report;
  report["identifiers"] = config::name_of(identifiers);
  report["sources"] = Json::object();
  for (const data::CorpusSource& source : corpus) {
    report["sources"][source.name] = {
        {"files", source.files.size()}, {"documents", 0}, {"text_bytes", 0}, {"dropped", Json::object()}};
  }
  report["num_problems"] = 0;
  report["problems"] = Json::array();
  std::vector<std::map<std::int32_t, std::int64_t>> lines_of_file(corpus.size());
  for (Json& unit : gather_units(group, packed)) {
    const data::WorkUnit& work = units.at(unit["unit"].get<std::size_t>());
    const auto source_index = static_cast<std::size_t>(work.source);
    Json& source = report["sources"][corpus[source_index].name];
    add_count(source, "documents", unit["documents"]);
    add_count(source, "text_bytes", unit["text_bytes"]);
    if (identifiers != config::Identifiers::off) {
      for (std::size_t kind = 0; kind < text::kNumIdentifiers; ++kind)
        add_count(source["identifiers"], text::name_of(static_cast<text::Identifier>(kind)), unit["identifiers"][kind]);
    }
    for (const auto& [reason, count] : unit["dropped"].items()) {
      add_count(source["dropped"], reason, count);
      add_count(report, "num_problems", count);
    }
    add_problems(report, unit, work, lines_of_file[source_index]);
  }
  return report;
}

void add_tokens(Json& report, comm::Group& group, const data::Corpus& corpus, const std::vector<data::WorkUnit>& units,
                const std::vector<UnitResult>& mine) {
  Json packed = Json::array();
  for (const UnitResult& result : mine) {
    packed.push_back({{"unit", result.unit},
                      {"documents", result.tokens.num_documents},
                      {"tokens", result.tokens.num_tokens},
                      {"supervised_tokens", result.tokens.num_supervised},
                      {"shards", result.tokens.num_shards},
                      {"duplicates", result.tokens.num_duplicates},
                      {"contaminated", result.tokens.num_contaminated}});
  }
  for (auto& [name, source] : report["sources"].items()) {
    source["documents"] = 0;
    source["tokens"] = 0;
    source["shards"] = 0;
  }
  for (const Json& unit : gather_units(group, packed)) {
    const data::WorkUnit& work = units.at(unit["unit"].get<std::size_t>());
    Json& source = report["sources"][corpus[static_cast<std::size_t>(work.source)].name];
    for (const char* key : {"documents", "tokens", "shards"}) add_count(source, key, unit[key]);
    if (unit["supervised_tokens"] > 0) add_count(source, "supervised_tokens", unit["supervised_tokens"]);
    if (unit["duplicates"] > 0)
      add_count(source["dropped"], text::name_of(text::DropReason::duplicate), unit["duplicates"]);
    if (unit["contaminated"] > 0)
      add_count(source["dropped"], text::name_of(text::DropReason::contaminated), unit["contaminated"]);
  }
}

void tell_problems(const Json& report) {
  const Json& problems = report["problems"];
  const auto total = report["num_problems"].get<std::int64_t>();
  if (total > 0)
    log::info(total, " record(s) cannot be used", problems.size() > kMaxProblemsTold ? "; the first:" : ":");
  for (std::size_t i = 0; i < std::min(problems.size(), kMaxProblemsTold); ++i) log::info("  ", line_of(problems[i]));
  for (const auto& [name, source] : report["sources"].items()) {
    if (source["documents"] > 0) continue;
    throw DataError("source ", name, ": none of its ", source["files"].get<std::int64_t>(),
                    " file(s) holds a document that can be used",
                    problems.empty() ? std::string() : "; first problem: " + line_of(problems[0]));
  }
}

}  // namespace osler::app
