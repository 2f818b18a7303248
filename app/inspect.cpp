// osler inspect: what is in a checkpoint, run, Hugging Face directory, token shard or table. With --verify every sum is
// checked. No MPI, no GPU; results on stdout. Shards, tables and the comparison of two have files of their own.
#include <filesystem>
#include <iostream>

#include "base/publish.hpp"
#include "checkpoint/checkpoint.hpp"
#include "checkpoint/directory.hpp"
#include "checkpoint/hugging_face.hpp"
#include "checkpoint/manifest.hpp"
#include "checkpoint/verify.hpp"
#include "config/model_config.hpp"
#include "inspect.hpp"
#include "model_tensors.hpp"
#include "plan/parameter_specs.hpp"
#include "text_table.hpp"
#include "verbs.hpp"

namespace osler::app {
namespace {

namespace fs = std::filesystem;
constexpr const char* kUsage =
    R"(usage: osler inspect PATH [--verify]
       osler inspect A B [--require-equal] [--verify]

PATH: a folder of token shards, a checkpoint, a run, a Hugging Face model directory or an evaluation's folder, or a file
of one of them (.h5, .json, .jsonl, .csv). --verify reads everything and checks every sum; it exits with 4 for a damaged
checkpoint and 3 for a damaged shard, model or evaluation.

A B: compares two checkpoints, runs (of each the newest checkpoint) or Hugging Face model directories tensor by tensor,
whatever layout wrote them, and the run state of two checkpoints. Equal means bit for bit. Prints what differs: the
largest |a-b| of an element, ||a-b||/||b|| of the tensor, how many elements; the last line is the verdict. Where only one
of the two holds optimizer state, weights alone are compared: its fp32 masters, rounded to the other's dtype. Keys of the
run's configuration are shown but do not count. --require-equal exits with 3 when tensors, model or run state differ;
--verify checks the sums of checkpoints before.
)";

std::string or_none(const std::string& text) {
  return text.empty() ? "-" : text;
}

std::string model_text(const std::string& config_json, const std::string& origin) {
  if (config_json.empty()) return "-";
  const config::ModelConfig config = config::parse_model_config(config_json, origin);
  const plan::ParameterCount count = plan::count_parameters(config);
  std::string text = text_of(config.is_mixture ? "Mixtral" : "Mistral", ", ", grouped(count.total), " parameters");
  if (config.is_mixture)
    text += text_of(" (", grouped(count.active), " active), ", config.num_experts, " experts top-", config.top_k);
  return text_of(text, ", ", config.num_layers, " layers, hidden ", config.hidden_size, ", heads ", config.num_heads,
                 "/", config.num_kv_heads, ", vocabulary ", config.vocab_size);
}

/// What all runs together showed the weights.
std::string seen_text(const checkpoint::Provenance& provenance) {
  std::string text = grouped(provenance.pretraining_tokens) + " tokens in pretraining";
  if (provenance.is_fine_tuned())
    text += text_of(", ", grouped(provenance.fine_tuning_tokens), " in fine-tuning, neftune alpha ",
                    provenance.neftune_alpha);
  return text;
}

// ------------------------------------------------------------------------------------------------- checkpoints
void print_state(const checkpoint::Manifest& manifest) {
  const checkpoint::RunState& state = manifest.state;
  print_pairs({{"written", or_none(manifest.created) + " by " + std::to_string(manifest.world_size) + " rank(s)"},
               {"step", grouped(state.step)},
               {"tokens", grouped(state.tokens)},
               {"seen", seen_text(state.provenance)},
               {"samples", grouped(state.samples)},
               {"seed", std::to_string(state.seed)},
               {"dtype", or_none(state.dtype)},
               {"model", model_text(state.model_config, "the manifest's model_config")},
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
  std::cout << "Hugging Face model " << path << "\n" << model_text(model.config(), path + "/config.json") << "\n\n";
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

void inspect_folder(const std::string& path, Depth depth) {
  const auto holds = [](const std::string& root) {
    const checkpoint::Listing listing = checkpoint::list_checkpoints(root);
    return !listing.steps.empty() || !listing.remnants.empty() || !listing.bad.empty() || !listing.temporary.empty();
  };
  if (checkpoint::looks_like_checkpoint(path)) return inspect_checkpoint(path, depth);
  if (fs::exists(path + "/config.json")) return inspect_hugging_face(path, depth);
  if (holds(path + "/checkpoints")) return inspect_run(path, path + "/checkpoints", depth);
  if (holds(path)) return inspect_run(path, path, depth);
  if (fs::exists(path + "/results.json") || fs::exists(path + "/scores.csv")) return inspect_evaluation(path, depth);
  if (holds_token_shards(path)) return inspect_token_folder(path, depth);
  throw DataError("'", path,
                  "' holds nothing that is known here: no checkpoint, no config.json, no results, no token shards");
}

void inspect_file(const std::string& path, Depth depth) {
  const std::string name = fs::path(path).filename().string();
  const std::string extension = fs::path(path).extension().string();
  // Both list the tensors of the checkpoint that they belong to; the index without its neighbours holds nothing.
  if (name == checkpoint::kManifestName || name == checkpoint::kIndexName)
    inspect_checkpoint(fs::absolute(path).parent_path().string(), depth);
  else if (name == "tokenize.json")
    inspect_tokenize_report(path, depth);
  else if (name == "config.json")
    std::cout << "model configuration " << path << "\n" << model_text(read_file(path), path) << "\n";
  else if (extension == ".csv")
    inspect_csv(path);
  else if (extension == ".jsonl")
    inspect_json_lines(path);
  else if (extension == ".json")
    inspect_results(path, depth);
  else if (extension == ".safetensors")
    throw DataError("'", path, "': give the model's folder");
  else
    inspect_hdf5(path, depth);
}

}  // namespace

void print_pairs(const std::vector<std::pair<std::string, std::string>>& pairs) {
  std::size_t width = 0;
  for (const auto& [key, value] : pairs) width = std::max(width, key.size());
  for (const auto& [key, value] : pairs) std::cout << key << std::string(width - key.size() + 2, ' ') << value << "\n";
}

ExitCode inspect(const Arguments& arguments) {
  std::vector<std::string> paths;
  Depth depth = Depth::contents;
  Equality equality = Equality::reported;
  for (const std::string& argument : arguments) {
    if (argument == "--help" || argument == "-h") {
      std::cout << kUsage;
      return ExitCode::done;
    }
    if (argument == "--verify")
      depth = Depth::verify;
    else if (argument == "--require-equal")
      equality = Equality::required;
    else if (argument.empty() || argument.front() == '-' || paths.size() == 2)
      throw ConfigError("unexpected '", argument, "'\n", kUsage);
    else
      paths.push_back(argument);
  }
  if (paths.empty()) throw ConfigError("no PATH\n", kUsage);
  if (equality == Equality::required && paths.size() == 1)
    throw ConfigError("--require-equal needs two paths\n", kUsage);
  for (std::string& path : paths) {
    while (path.size() > 1 && path.back() == '/') path.pop_back();
    std::error_code error;
    if (!fs::exists(path, error)) throw DataError("'", path, "' does not exist");
  }
  if (paths.size() == 2)
    compare(paths[0], paths[1], depth, equality);
  else
    fs::is_directory(paths[0]) ? inspect_folder(paths[0], depth) : inspect_file(paths[0], depth);
  return ExitCode::done;
}

}  // namespace osler::app
