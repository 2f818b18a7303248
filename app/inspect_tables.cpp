// Tables and other files of rows for `osler inspect`: scores, results, samples, metrics.
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "base/publish.hpp"
#include "base/seal.hpp"
#include "eval/csv.hpp"
#include "eval/result_sums.hpp"
#include "inspect.hpp"
#include "model_tensors.hpp"
#include "store/hdf5_file.hpp"
#include "text_table.hpp"

namespace osler::app {
namespace {

using Json = nlohmann::json;

std::string attribute_text(const store::Attribute& attribute) {
  if (const auto* number = std::get_if<std::int64_t>(&attribute)) return std::to_string(*number);
  if (const auto* real = std::get_if<double>(&attribute)) return text_of(*real);
  if (const auto* text = std::get_if<std::string>(&attribute)) return *text;
  return shape_text(std::get<std::vector<std::int64_t>>(attribute));
}

Json parse_or_refuse(const std::string& text, const std::string& where) {
  try {
    return Json::parse(text);
  } catch (const Json::parse_error& error) {
    throw DataError(where, " is not valid JSON at byte ",
                    error.byte);  // without the bytes: they may be text of patients
  }
}

}  // namespace

void inspect_hdf5(const std::string& path, Depth depth) {
  if (depth == Depth::verify && check_seal(path) == Seal::wrong)
    throw DataError("'", path, "': the SHA-256 of the file is not the one in its last line; make it again");
  const store::ReadFile file(path);
  if (file.contains("tokens") && file.contains("doc_offsets")) return inspect_shard(path, depth);
  std::cout << "HDF5 file " << path << "\n";
  for (const auto& [name, value] : file.attributes()) std::cout << name << "  " << attribute_text(value) << "\n";
  TextTable table({"dataset", "dtype", "shape", "attributes"});
  for (const auto& dataset : file.datasets()) {
    std::string attributes;
    for (const auto& [name, value] : dataset.attributes)
      attributes += text_of(attributes.empty() ? "" : ", ", name, "=", attribute_text(value));
    table.add({dataset.name, std::string(name_of(dataset.dtype)), shape_text(dataset.shape), attributes});
  }
  std::cout << "\n" << table.text();
}

void inspect_csv(const std::string& path) {
  const std::vector<eval::CsvRow> rows = eval::parse_csv(read_file(path), path);
  if (rows.empty()) throw DataError("'", path, "' is empty: no table");
  TextTable table(rows.front().fields);
  for (std::size_t i = 1; i < rows.size(); ++i) {
    if (rows[i].fields.size() != rows.front().fields.size())
      throw DataError("'", path, "' line ", rows[i].line, ": ", rows[i].fields.size(), " fields, the header has ",
                      rows.front().fields.size());
    table.add(rows[i].fields);
  }
  std::cout << "table " << path << ", " << rows.size() - 1 << " rows\n\n" << table.text();
}

void inspect_results(const std::string& path, Depth depth) {
  if (depth == Depth::verify) eval::verify_results(std::filesystem::absolute(path).parent_path().string());
  const Json json = parse_or_refuse(read_file(path), "'" + path + "'");
  if (!json.is_object() || !json.contains("results") || !json["results"].is_object())
    throw DataError("'", path, "' holds no 'results': not an evaluation's results file");
  TextTable table({"task", "metric", "value", "stderr"});
  for (const auto& [task, metrics] : json["results"].items()) {
    if (!metrics.is_object()) continue;
    for (const auto& [name, value] : metrics.items()) {
      if (!value.is_number() || name.find("_stderr") != std::string::npos) continue;
      const std::size_t comma = name.find(',');
      const std::string error_name =
          comma == std::string::npos ? name + "_stderr" : name.substr(0, comma) + "_stderr" + name.substr(comma);
      table.add({task, name, value.dump(), metrics.contains(error_name) ? metrics[error_name].dump() : "-"});
    }
  }
  std::cout << "evaluation results " << path << "\n\n" << table.text();
}

void inspect_evaluation(const std::string& folder, Depth depth) {
  const std::string table = folder + "/scores.csv";
  if (depth == Depth::verify) eval::verify_results(folder);
  if (std::filesystem::exists(table))
    inspect_csv(table);
  else
    inspect_results(folder + "/results.json", Depth::contents);
  if (depth == Depth::verify) std::cout << "verified: every file has the SHA-256 of results.json\n";
}

void inspect_json_lines(const std::string& path) {
  const std::string text = read_file(path, std::uint64_t{16} << 30);
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    if (end > begin) lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  std::map<std::string, std::size_t> keys;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const Json row = parse_or_refuse(lines[i], text_of("'", path, "' row ", i + 1));
    if (!row.is_object()) throw DataError("'", path, "' row ", i + 1, " is not an object");
    for (const auto& [key, value] : row.items()) ++keys[key];
  }
  TextTable table({"key", "rows"});
  for (const auto& [key, count] : keys) table.add({key, grouped(static_cast<std::int64_t>(count))});
  // Keys only, never values: samples files hold the text of patients.
  std::cout << "JSON lines " << path << ", " << lines.size() << " rows\n\n" << table.text();
}

}  // namespace osler::app
