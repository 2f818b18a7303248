// osler inspect: what is in a token shard, checkpoint, run, Hugging Face directory or table. With --verify every sum is
// checked. No MPI, no GPU; results on stdout.
#include <filesystem>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

#include "base/publish.hpp"
#include "checkpoint/checkpoint.hpp"
#include "checkpoint/directory.hpp"
#include "checkpoint/hugging_face.hpp"
#include "checkpoint/manifest.hpp"
#include "checkpoint/verify.hpp"
#include "config/model_config.hpp"
#include "data/token_shard.hpp"
#include "eval/csv.hpp"
#include "model_tensors.hpp"
#include "plan/parameter_specs.hpp"
#include "store/hdf5_file.hpp"
#include "text_table.hpp"
#include "verbs.hpp"

namespace osler::app {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr const char* kUsage =
    "usage: osler inspect PATH [--verify]\n\n"
    "PATH: a token shard or table (.h5, .csv, .json, .jsonl), a checkpoint, a run, a Hugging Face model directory,\n"
    "or an evaluation's folder. --verify reads everything and checks every sum; it exits with 4 for a damaged\n"
    "checkpoint and 3 for a damaged shard or model.\n";

enum class Depth { contents, verify };

std::string or_none(const std::string& text) {
  return text.empty() ? "-" : text;
}

void print_pairs(const std::vector<std::pair<std::string, std::string>>& pairs) {
  std::size_t width = 0;
  for (const auto& [key, value] : pairs) width = std::max(width, key.size());
  for (const auto& [key, value] : pairs) std::cout << key << std::string(width - key.size() + 2, ' ') << value << "\n";
}

std::string model_text(const std::string& config_json) {
  if (config_json.empty()) return "-";
  const config::ModelConfig config = config::parse_model_config(config_json, "config.json");
  const plan::ParameterCount count = plan::count_parameters(config);
  std::string text = text_of(config.is_mixture ? "Mixtral" : "Mistral", ", ", grouped(count.total), " parameters");
  if (config.is_mixture)
    text += text_of(" (", grouped(count.active), " active), ", config.num_experts, " experts top-", config.top_k);
  return text_of(text, ", ", config.num_layers, " layers, hidden ", config.hidden_size, ", heads ", config.num_heads,
                 "/", config.num_kv_heads, ", vocabulary ", config.vocab_size);
}

// ------------------------------------------------------------------------------------------------- checkpoints
void print_state(const checkpoint::Manifest& manifest) {
  const checkpoint::RunState& state = manifest.state;
  print_pairs({{"written", or_none(manifest.created) + " by " + std::to_string(manifest.world_size) + " rank(s)"},
               {"step", grouped(state.step)},
               {"tokens", grouped(state.tokens)},
               {"samples", grouped(state.samples)},
               {"seed", std::to_string(state.seed)},
               {"dtype", or_none(state.dtype)},
               {"model", model_text(state.model_config)},
               {"data", or_none(state.data_fingerprint)}});
  if (!state.ledger.empty()) {
    TextTable ledger({"source", "tokens", "sequences", "epoch"});
    for (const auto& [source, entry] : state.ledger)
      ledger.add({source, grouped(entry.tokens), grouped(entry.sequences), std::to_string(entry.epoch)});
    std::cout << "\n" << ledger.text();
  }
}

void inspect_checkpoint(const std::string& path, Depth depth) {
  const checkpoint::Manifest manifest = checkpoint::read_manifest(path);
  std::cout << "checkpoint " << path << "\n";
  print_state(manifest);
  TextTable files({"file", "size", "bytes", "sha256"});
  std::uint64_t total = 0;
  for (const auto& file : manifest.files) {
    files.add({file.name, bytes_text(file.num_bytes), grouped(static_cast<std::int64_t>(file.num_bytes)),
               file.sha256.substr(0, 16)});
    total += file.num_bytes;
  }
  TextTable tensors({"tensor", "dtype", "shape", "pieces"});
  for (const auto& tensor : manifest.tensors)
    tensors.add({tensor.name, std::string(name_of(tensor.dtype)), shape_text(tensor.shape),
                 std::to_string(tensor.pieces.size())});
  std::cout << "\n"
            << files.text() << "\n"
            << tensors.text() << "\n"
            << manifest.tensors.size() << " tensors, " << manifest.files.size() << " files, " << bytes_text(total)
            << "\n";
  if (depth == Depth::contents) return checkpoint::check_sizes(path, manifest);
  const std::vector<std::string> damage = checkpoint::find_damage(path, manifest, 0, 1);
  std::cout << std::flush;
  if (damage.empty()) {
    std::cout << "verified: every file has the SHA-256 of the manifest\n";
    return;
  }
  std::string lines;
  for (const std::string& line : damage) lines += "\n  " + line;
  throw CheckpointError("checkpoint '", path, "' is damaged:", lines);
}

void inspect_run(const std::string& path, const std::string& root, Depth depth) {
  const checkpoint::Listing listing = checkpoint::list_checkpoints(root);
  std::cout << "run " << path << (fs::exists(path + "/done") ? ", done" : "") << "\n\n";
  TextTable table({"checkpoint", "step", "tokens", "written", "ranks", "size", "state"});
  std::string damaged;
  for (const std::int64_t step : listing.steps) {
    const std::string directory = root + "/" + checkpoint::step_name(step);
    try {
      const checkpoint::Manifest manifest = checkpoint::read_manifest(directory);
      checkpoint::check_sizes(directory, manifest);
      if (depth == Depth::verify) checkpoint::Reader(directory).verify();
      std::uint64_t total = 0;
      for (const auto& file : manifest.files) total += file.num_bytes;
      table.add({checkpoint::step_name(step), grouped(step), grouped(manifest.state.tokens), manifest.created,
                 std::to_string(manifest.world_size), bytes_text(total),
                 depth == Depth::verify ? "verified" : "complete"});
    } catch (const CheckpointError& error) {
      table.add({checkpoint::step_name(step), grouped(step), "-", "-", "-", "-", "damaged"});
      damaged += text_of("\n  ", error.what());
    }
  }
  for (const std::int64_t step : listing.remnants)
    table.add({checkpoint::step_name(step), grouped(step), "-", "-", "-", "-", "no manifest: not a checkpoint"});
  for (const std::string& name : listing.bad) table.add({name, "-", "-", "-", "-", "-", "damaged, set aside"});
  for (const std::string& name : listing.temporary) table.add({name, "-", "-", "-", "-", "-", "unfinished save"});
  std::cout << table.text() << std::flush;
  if (!damaged.empty()) throw CheckpointError("damaged checkpoints in '", root, "':", damaged);
}

// ------------------------------------------------------------------------------------------------- weights
void inspect_hugging_face(const std::string& path, Depth depth) {
  const checkpoint::HuggingFaceModel model(path);
  std::cout << "Hugging Face model " << path << "\n" << model_text(model.config()) << "\n\n";
  TextTable table({"tensor", "dtype", "shape", "file"});
  std::uint64_t total = 0;
  std::vector<plan::Piece> stored;
  for (const std::string& name : model.names()) {
    const checkpoint::StoredPiece tensor = model.stored(name);
    table.add({name, std::string(name_of(tensor.piece.dtype)), shape_text(tensor.piece.global_shape),
               fs::path(tensor.path).filename().string()});
    total += num_bytes_of(tensor.piece);
    stored.push_back(tensor.piece);
    stored.back().name = kModelPrefix + name;
  }
  std::cout << table.text() << "\n" << stored.size() << " tensors, " << bytes_text(total) << "\n";
  for (const std::string& file : model.companion_files())
    std::cout << "with " << fs::path(file).filename().string() << "\n";
  if (depth == Depth::contents) return;
  std::cout << std::flush;
  choose_model_tensors(config::parse_model_config(model.config(), path + "/config.json"), stored,
                       [&](const std::string& name) { return name.empty() ? path : model.stored(name).path; });
  std::cout
      << "verified: headers are sound and hold the tensors that config.json asks for (safetensors carry no sums)\n";
}

// ------------------------------------------------------------------------------------------------- shards and tables
std::string attribute_text(const store::Attribute& attribute) {
  if (const auto* number = std::get_if<std::int64_t>(&attribute)) return std::to_string(*number);
  if (const auto* real = std::get_if<double>(&attribute)) return text_of(*real);
  if (const auto* text = std::get_if<std::string>(&attribute)) return *text;
  return shape_text(std::get<std::vector<std::int64_t>>(attribute));
}

void inspect_shard(const std::string& path, Depth depth) {
  const data::TokenShard shard(path);
  const data::ShardInfo& info = shard.info();
  const std::uint64_t* offsets = shard.document_offsets();
  std::uint64_t longest = 0;
  for (std::int64_t i = 0; i < info.num_documents; ++i) longest = std::max(longest, offsets[i + 1] - offsets[i]);
  const double mean =
      info.num_documents == 0 ? 0 : static_cast<double>(info.num_tokens) / static_cast<double>(info.num_documents);
  std::cout << "token shard " << path << "\n";
  print_pairs({{"source", info.source},
               {"documents", grouped(info.num_documents)},
               {"tokens", text_of(grouped(info.num_tokens), " (", mean, " a document, longest ",
                                  grouped(static_cast<std::int64_t>(longest)), ")")},
               {"vocabulary", text_of(grouped(info.vocab_size), ", bos ", info.bos_id, ", eos ", info.eos_id)},
               {"tokenizer", "sha256 " + info.tokenizer_sha256},
               {"content", "sha256 " + info.content_sha256}});
  if (!info.dropped.empty()) {
    TextTable table({"dropped because", "documents"});
    for (const auto& [reason, count] : info.dropped) table.add({reason, grouped(count)});
    std::cout << "\n" << table.text();
  }
  if (depth == Depth::contents) return;
  std::cout << std::flush;
  shard.verify();
  std::cout << "verified: every id is below vocab_size, offsets rise, the content has its SHA-256\n";
}

void inspect_hdf5(const std::string& path, Depth depth) {
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

Json parse_or_refuse(const std::string& text, const std::string& where) {
  try {
    return Json::parse(text);
  } catch (const Json::parse_error& error) {
    throw DataError(where, " is not valid JSON at byte ",
                    error.byte);  // without the bytes: they may be text of patients
  }
}

void inspect_results(const std::string& path) {
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

void inspect_folder(const std::string& path, Depth depth) {
  const auto holds = [](const std::string& root) {
    const checkpoint::Listing listing = checkpoint::list_checkpoints(root);
    return !listing.steps.empty() || !listing.remnants.empty() || !listing.bad.empty() || !listing.temporary.empty();
  };
  if (checkpoint::looks_like_checkpoint(path)) return inspect_checkpoint(path, depth);
  if (fs::exists(path + "/config.json")) return inspect_hugging_face(path, depth);
  if (holds(path + "/checkpoints")) return inspect_run(path, path + "/checkpoints", depth);
  if (holds(path)) return inspect_run(path, path, depth);
  if (fs::exists(path + "/scores.csv")) return inspect_csv(path + "/scores.csv");
  if (fs::exists(path + "/results.json")) return inspect_results(path + "/results.json");
  throw DataError("'", path, "' holds nothing that is known here: no checkpoint, no config.json, no results");
}

}  // namespace

ExitCode inspect(const Arguments& arguments) {
  std::string path;
  Depth depth = Depth::contents;
  for (const std::string& argument : arguments) {
    if (argument == "--help" || argument == "-h") {
      std::cout << kUsage;
      return ExitCode::done;
    }
    if (argument == "--verify") {
      depth = Depth::verify;
    } else if (argument.empty() || argument.front() == '-' || !path.empty()) {
      throw ConfigError("unexpected '", argument, "'\n", kUsage);
    } else {
      path = argument;
    }
  }
  if (path.empty()) throw ConfigError("no PATH\n", kUsage);
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  std::error_code error;
  if (!fs::exists(path, error)) throw DataError("'", path, "' does not exist");
  const std::string extension = fs::path(path).extension().string();
  if (fs::is_directory(path, error))
    inspect_folder(path, depth);
  else if (extension == ".csv")
    inspect_csv(path);
  else if (extension == ".jsonl")
    inspect_json_lines(path);
  else if (extension == ".json")
    inspect_results(path);
  else if (extension == ".safetensors")
    throw DataError("'", path, "': give the model's folder");
  else
    inspect_hdf5(path, depth);
  return ExitCode::done;
}

}  // namespace osler::app
