// What `osler tokenize` writes, for `osler inspect`: shards one by one or a folder of them, and its report.
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "base/publish.hpp"
#include "config/strict_json.hpp"
#include "data/token_shard.hpp"
#include "inspect.hpp"
#include "text/input_files.hpp"
#include "text_table.hpp"

namespace osler::app {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

const std::string kReportName = "tokenize.json";

struct Totals {
  std::int64_t shards = 0;
  std::int64_t documents = 0;
  std::int64_t tokens = 0;

  void add(const Totals& more) {
    shards += more.shards;
    documents += more.documents;
    tokens += more.tokens;
  }
  bool operator==(const Totals&) const = default;
};

/// What data.source would read of a folder.
std::vector<std::string> shard_files(const std::string& folder) {
  std::vector<std::string> files = text::find_files(folder);
  std::erase_if(files, [](const std::string& file) { return !file.ends_with(".h5"); });
  return files;
}

/// Prints the shards below `folder`; throws DataError that names every one that cannot be used. Returns sums by source.
std::map<std::string, Totals> list_shards(const std::string& folder, Depth depth) {
  std::map<std::string, Totals> totals;
  std::string damaged;
  TextTable table({"shard", "source", "documents", "tokens", "size", "state"});
  for (const std::string& file : shard_files(folder)) {
    const std::string name = fs::path(file).lexically_relative(folder).string();
    try {
      if (depth == Depth::verify) data::verify_shard(file);
      const data::TokenShard shard(file);
      const data::ShardInfo& info = shard.info();
      totals[info.source].add({1, info.num_documents, info.num_tokens});
      table.add({name, info.source, grouped(info.num_documents), grouped(info.num_tokens),
                 bytes_text(fs::file_size(file)), depth == Depth::verify ? "verified" : "opens"});
    } catch (const DataError& error) {
      table.add({name, "-", "-", "-", "-", "damaged"});
      damaged += text_of("\n  ", error.what());
    }
  }
  TextTable sums({"source", "shards", "documents", "tokens"});
  Totals all;
  for (const auto& [source, sum] : totals) {
    sums.add({source, grouped(sum.shards), grouped(sum.documents), grouped(sum.tokens)});
    all.add(sum);
  }
  sums.add({"all", grouped(all.shards), grouped(all.documents), grouped(all.tokens)});
  std::cout << "token shards " << folder << "\n\n" << table.text() << "\n" << sums.text() << std::flush;
  if (!damaged.empty()) throw DataError("shards in '", folder, "' cannot be used:", damaged);
  return totals;
}

std::int64_t count_in(const Json& object, const char* key, const std::string& path) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_integer())
    throw DataError("'", path, "': '", key, "' is missing or not a count");
  return found->get<std::int64_t>();
}

std::string dropped_text(const Json& source, const std::string& path) {
  std::string text;
  const auto dropped = source.find("dropped");
  if (dropped == source.end() || !dropped->is_object()) throw DataError("'", path, "': 'dropped' is missing");
  for (const auto& [reason, count] : dropped->items())
    text += text_of(text.empty() ? "" : ", ", reason, " ", grouped(count_in(*dropped, reason.c_str(), path)));
  return text.empty() ? "-" : text;
}

void print_contamination(const Json& report, const std::string& path) {
  const auto found = report.find("decontamination");
  if (found == report.end()) return;
  if (!found->is_object() || !found->contains("benchmarks") || !(*found)["benchmarks"].is_object())
    throw DataError("'", path, "': 'decontamination' holds no 'benchmarks'");
  TextTable table({"benchmark", "items", "touched", "whole questions", "too short", "documents"});
  for (const auto& [name, benchmark] : (*found)["benchmarks"].items()) {
    std::int64_t documents = 0;
    if (!benchmark.contains("documents") || !benchmark["documents"].is_object())
      throw DataError("'", path, "': benchmark ", name, " holds no 'documents'");
    for (const auto& [source, count] : benchmark["documents"].items())
      documents += count_in(benchmark["documents"], source.c_str(), path);
    table.add({name, grouped(count_in(benchmark, "items", path)), grouped(count_in(benchmark, "touched", path)),
               grouped(count_in(benchmark, "question_hits", path)), grouped(count_in(benchmark, "too_short", path)),
               grouped(documents)});
  }
  std::cout << "\n" << table.text();
}

/// Prints the report and returns what it says of each source. Counts only: no name of a dropped file, no reason's
/// detail.
std::map<std::string, Totals> print_report(const std::string& path) {
  const Json report = config::parse_strict_json(read_file(path), "'" + path + "'");
  if (!report.is_object() || !report.contains("sources") || !report["sources"].is_object())
    throw DataError("'", path, "' holds no 'sources': not a report of osler tokenize");
  const std::int64_t version = count_in(report, "format_version", path);
  if (version != data::kShardFormatVersion)
    throw DataError("'", path, "' has format version ", version, ", this program knows ", data::kShardFormatVersion);
  std::map<std::string, Totals> totals;
  TextTable table({"source", "files", "documents", "tokens", "shards", "dropped"});
  for (const auto& [name, source] : report["sources"].items()) {
    const Totals& sum = totals[name] = {count_in(source, "shards", path), count_in(source, "documents", path),
                                        count_in(source, "tokens", path)};
    table.add({name, grouped(count_in(source, "files", path)), grouped(sum.documents), grouped(sum.tokens),
               grouped(sum.shards), dropped_text(source, path)});
  }
  std::cout << "tokenize report " << path << "\n\n"
            << table.text() << "\n"
            << grouped(count_in(report, "num_problems", path)) << " records dropped for a problem of their own\n";
  print_contamination(report, path);
  return totals;
}

}  // namespace

void inspect_shard(const std::string& path, Depth depth) {
  if (depth == Depth::verify) data::verify_shard(path);
  const data::TokenShard shard(path);
  const data::ShardInfo& info = shard.info();
  const std::uint64_t* offsets = shard.document_offsets();
  std::uint64_t longest = 0;
  for (std::int64_t i = 0; i < info.num_documents; ++i) longest = std::max(longest, offsets[i + 1] - offsets[i]);
  const double mean =
      info.num_documents == 0 ? 0 : static_cast<double>(info.num_tokens) / static_cast<double>(info.num_documents);
  std::cout << "token shard " << path << "\n";
  print_pairs(
      {{"source", info.source},
       {"documents", grouped(info.num_documents)},
       {"tokens", text_of(grouped(info.num_tokens), " (", mean, " a document, longest ",
                          grouped(static_cast<std::int64_t>(longest)), ")")},
       {"vocabulary", text_of(grouped(info.vocab_size), ", bos ", info.bos_id, ", eos ", info.eos_id)},
       {"supervised", info.chat_template.empty()
                          ? "all, running text"
                          : text_of(grouped(info.num_supervised), ", template ", info.chat_template)},
       {"tokenizer", "sha256 " + info.tokenizer_sha256},
       {"content", "sha256 " + info.content_sha256},
       {"decontaminated", info.decontaminated_against.empty() ? "no" : "against " + info.decontaminated_against},
       {"identifiers", info.identifiers_masked ? "masked" : "as in the text"}});
  if (!info.dropped.empty()) {
    TextTable table({"dropped because", "documents"});
    for (const auto& [reason, count] : info.dropped) table.add({reason, grouped(count)});
    std::cout << "\n" << table.text();
  }
  if (depth == Depth::verify)
    std::cout << "verified: every id is below vocab_size, offsets rise, "
              << (info.is_sealed ? "the whole file has its SHA-256\n" : "the content has its SHA-256\n");
}

bool holds_token_shards(const std::string& folder) {
  return fs::exists(folder + "/" + kReportName) || !shard_files(folder).empty();
}

void inspect_token_folder(const std::string& path, Depth depth) {
  const std::string report = path + "/" + kReportName;
  if (!fs::exists(report)) {
    list_shards(path, depth);
    return;
  }
  const std::map<std::string, Totals> said = print_report(report);
  std::cout << "\n";
  const std::map<std::string, Totals> found = list_shards(path, depth);
  if (depth == Depth::verify && said != found)
    throw DataError("'", report, "' and the shards beside it do not hold the same documents and tokens");
}

void inspect_tokenize_report(const std::string& path, Depth depth) {
  if (depth == Depth::verify) return inspect_token_folder(fs::absolute(path).parent_path().string(), depth);
  print_report(path);
}

}  // namespace osler::app
