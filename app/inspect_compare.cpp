// osler inspect A B: two sets of tensors compared one by one, in slabs, whatever layout wrote them; and what else two
// checkpoints hold. Prints what differs, then one line that says how much.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <map>
#include <optional>

#include "checkpoint/checkpoint.hpp"
#include "checkpoint/manifest.hpp"
#include "checkpoint/weights.hpp"
#include "comm/torch_dtype.hpp"
#include "inspect.hpp"
#include "model_tensors.hpp"
#include "tensor_distance.hpp"
#include "text_table.hpp"
#include "train/resume.hpp"

namespace osler::app {
namespace {

namespace fs = std::filesystem;

const std::string kMasterPrefix = "optim/master/";
// Both sides and their differences in fp64 then stay in a core's caches.
constexpr std::int64_t kSlabElements = std::int64_t{1} << 18;

/// One of the two.
struct Side {
  checkpoint::Weights weights;
  std::optional<checkpoint::Reader> reader;  ///< none: a Hugging Face directory
  bool keeps_masters = false;
};

/// manifest.json and index.h5 stand for their checkpoint.
std::string folder_of(const std::string& path) {
  const std::string name = fs::path(path).filename().string();
  const bool stands_for_folder = name == checkpoint::kManifestName || name == checkpoint::kIndexName;
  return stands_for_folder ? fs::absolute(path).parent_path().string() : path;
}

Side open_side(const std::string& label, const std::string& path, Depth depth) {
  Side side{checkpoint::Weights(folder_of(path),
                                depth == Depth::verify ? checkpoint::Verify::sums : checkpoint::Verify::sizes),
            std::nullopt};
  const std::string& directory = side.weights.directory();
  std::cout << label << "  " << directory;
  if (!fs::exists(directory + "/" + checkpoint::kManifestName)) {
    std::cout << " (Hugging Face model)\n";
    return side;
  }
  side.reader.emplace(directory);
  for (const plan::Piece& tensor : side.reader->tensors()) side.keeps_masters |= tensor.name.starts_with(kMasterPrefix);
  std::cout << " (step " << grouped(side.reader->state().step) << ", by "
            << checkpoint::read_manifest(directory).world_size << " rank(s))\n";
  return side;
}

// ------------------------------------------------------------------------------------------------- what is compared
/// A tensor of one name in both, or in one of them.
struct Pair {
  std::optional<plan::Piece> a, b;
};
using Pairs = std::map<std::string, Pair>;

std::vector<plan::Piece> tensors_of(const Side& side, bool weights_only) {
  return side.reader && !weights_only ? side.reader->tensors() : side.weights.tensors();
}

/// Sorted by name. A run keeps its weights as masters: where the other does not, both are looked at as "model/NAME",
/// and the masters are read in the dtype of the other, which is how they were exported or would be.
Pairs pair_tensors(const Side& a, const Side& b) {
  const bool weights_only = a.keeps_masters != b.keeps_masters;
  Pairs pairs;
  for (plan::Piece& tensor : tensors_of(a, weights_only)) pairs[tensor.name].a = std::move(tensor);
  for (plan::Piece& tensor : tensors_of(b, weights_only)) pairs[tensor.name].b = std::move(tensor);
  if (!weights_only) return pairs;
  for (auto& [name, pair] : pairs) {
    if (!pair.a || !pair.b) continue;
    if (a.keeps_masters)
      pair.a->dtype = pair.b->dtype;
    else
      pair.b->dtype = pair.a->dtype;
  }
  const char* keeper = a.keeps_masters ? "A" : "B";
  std::cout << "only " << keeper << " holds optimizer state: weights are compared, those of " << keeper
            << " rounded to the dtype of the other\n";
  return pairs;
}

at::Tensor load_slab(const Side& side, plan::Piece slab, DType dtype) {
  slab.dtype = dtype;
  const at::Tensor data = at::empty(slab.extent, at::TensorOptions().dtype(comm::scalar_type_of(dtype)));
  side.weights.load({{std::move(slab), data}});
  return data;
}

TensorDistance measure(const Side& a, const Side& b, const plan::Piece& in_a, const plan::Piece& in_b) {
  TensorDistance distance;
  const std::int64_t size = plan::num_elements(in_a.global_shape);
  for (std::int64_t begin = 0; begin < size; begin += kSlabElements) {
    const std::int64_t end = std::min(size, begin + kSlabElements);
    for (const auto& slab : plan::pieces_of_flat_range(in_a.name, in_a.dtype, in_a.global_shape, begin, end))
      distance.add(load_slab(a, slab, in_a.dtype), load_slab(b, slab, in_b.dtype));
  }
  return distance;
}

// ------------------------------------------------------------------------------------------------- tensors
std::string number_text(double number) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.2e", number);
  return text;
}

/// How many differ, and the one that is farthest.
struct Summary {
  std::size_t num_tensors = 0;
  std::size_t num_differing = 0;
  std::string farthest;  ///< name; "" when no values differ
  double relative = 0;

  void note(const std::string& name, double distance) {
    const bool is_farther = farthest.empty() || distance > relative || (std::isnan(distance) && !std::isnan(relative));
    if (is_farther) farthest = name, relative = distance;
  }
};

/// The row of a tensor that differs: its name, in what, and how far. Empty when it is equal.
std::vector<std::string> row_of(const std::string& name, const Pair& pair, const Side& a, const Side& b,
                                Summary& summary) {
  if (!pair.a || !pair.b) return {name, pair.a ? "only in A" : "only in B", "-", "-", "-", "-"};
  if (pair.a->global_shape != pair.b->global_shape)
    return {name, "shape " + shape_text(pair.a->global_shape) + " / " + shape_text(pair.b->global_shape), "-", "-", "-",
            "-"};
  const TensorDistance distance = measure(a, b, *pair.a, *pair.b);
  if (pair.a->dtype == pair.b->dtype && distance.num_differing() == 0) return {};
  std::string what = "values";
  if (pair.a->dtype != pair.b->dtype) what = text_of("dtype ", name_of(pair.a->dtype), " / ", name_of(pair.b->dtype));
  if (distance.num_differing() > 0) summary.note(name, distance.relative());
  return {name,
          what,
          number_text(distance.largest()),
          number_text(distance.relative()),
          grouped(distance.num_differing()),
          grouped(distance.num_elements())};
}

Summary compare_tensors(const Side& a, const Side& b) {
  const Pairs pairs = pair_tensors(a, b);
  Summary summary{.num_tensors = pairs.size()};
  TextTable table({"tensor", "differs in", "largest |a-b|", "||a-b||/||b||", "elements", "of"});
  for (const auto& [name, pair] : pairs) {
    std::vector<std::string> row = row_of(name, pair, a, b, summary);
    if (row.empty()) continue;
    ++summary.num_differing;
    table.add(std::move(row));
  }
  if (summary.num_differing > 0) std::cout << "\n" << table.text();
  return summary;
}

// ------------------------------------------------------------------------------------------------- run state
template <class Value>
void note_difference(const std::string& key, const Value& a, const Value& b, std::vector<std::string>& lines) {
  if (a != b) lines.push_back(text_of(key, ": ", a, " -> ", b));
}

std::string ledger_text(const checkpoint::RunState& state, const std::string& source) {
  const auto found = state.ledger.find(source);
  if (found == state.ledger.end()) return "(absent)";
  return text_of(found->second.tokens, " tokens, ", found->second.sequences, " sequences, epoch ", found->second.epoch);
}

/// "step: 4 -> 5" for everything but the configuration.
std::vector<std::string> state_differences(const checkpoint::RunState& a, const checkpoint::RunState& b) {
  std::vector<std::string> lines;
  note_difference("step", a.step, b.step, lines);
  note_difference("tokens", a.tokens, b.tokens, lines);
  note_difference("pretraining tokens", a.provenance.pretraining_tokens, b.provenance.pretraining_tokens, lines);
  note_difference("fine-tuning tokens", a.provenance.fine_tuning_tokens, b.provenance.fine_tuning_tokens, lines);
  note_difference("neftune alpha", a.provenance.neftune_alpha, b.provenance.neftune_alpha, lines);
  note_difference("samples", a.samples, b.samples, lines);
  note_difference("seed", a.seed, b.seed, lines);
  note_difference("dtype", a.dtype, b.dtype, lines);
  note_difference("data", a.data_fingerprint, b.data_fingerprint, lines);
  std::map<std::string, std::pair<std::int64_t, std::int64_t>> counters;
  for (const auto& [name, count] : a.counters) counters[name].first = count;
  for (const auto& [name, count] : b.counters) counters[name].second = count;
  for (const auto& [name, counts] : counters) note_difference(name, counts.first, counts.second, lines);
  std::map<std::string, checkpoint::LedgerEntry> sources = a.ledger;
  sources.insert(b.ledger.begin(), b.ledger.end());
  for (const auto& [source, entry] : sources)
    note_difference("source " + source, ledger_text(a, source), ledger_text(b, source), lines);
  return lines;
}

void print_lines(const std::string& title, const std::vector<std::string>& lines) {
  if (lines.empty()) return;
  std::cout << "\n" << title << ", A -> B\n";
  for (const std::string& line : lines) std::cout << "  " << line << "\n";
}

/// Whether model and run state are the same: of two runs' checkpoints both are known, otherwise the model alone.
bool compare_state(const Side& a, const Side& b) {
  const bool both_keep_state = a.reader && b.reader && a.keeps_masters == b.keeps_masters;
  std::vector<std::string> lines = train::model_differences(a.weights.model_config(), b.weights.model_config());
  if (both_keep_state)
    for (std::string& line : state_differences(a.reader->state(), b.reader->state())) lines.push_back(std::move(line));
  print_lines(both_keep_state ? "run state" : "model", lines);
  if (both_keep_state)
    print_lines("configuration (does not count)",
                train::differences(a.reader->state().run_config, b.reader->state().run_config));
  return lines.empty();
}

std::string verdict_of(const Summary& summary, bool same_state) {
  std::string text =
      summary.num_differing == 0
          ? text_of("equal: ", summary.num_tensors, " tensors, bit for bit")
          : text_of(summary.num_differing, " of ", summary.num_tensors, " tensors differ",
                    summary.farthest.empty()
                        ? " in name, shape or dtype"
                        : ", largest relative distance " + number_text(summary.relative) + " in " + summary.farthest);
  return same_state ? text : text + "; model or run state differ";
}

}  // namespace

void compare(const std::string& a_path, const std::string& b_path, Depth depth, Equality equality) {
  const Side a = open_side("A", a_path, depth);
  const Side b = open_side("B", b_path, depth);
  const bool same_state = compare_state(a, b);
  const Summary summary = compare_tensors(a, b);
  const std::string verdict = verdict_of(summary, same_state);
  std::cout << "\n" << verdict << "\n" << std::flush;
  const bool equal = summary.num_differing == 0 && same_state;
  if (!equal && equality == Equality::required) throw DataError("'", a_path, "' and '", b_path, "': ", verdict);
}

}  // namespace osler::app
