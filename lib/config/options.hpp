// The options of every section, each declared once: field, default, bound, unit and help stand together in
// options.cpp, and that one list drives parsing, help, validation, --print-config and what checkpoints and tables
// store.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace osler::config {

enum class Precision { fp64, fp32, bf16 };
enum class Recompute { none, selective, full };
enum class Schedule { cosine, linear, wsd, constant };
enum class AuxLoss { hf, megatron, off };
enum class TextFormat { text, chat };
enum class Scoring { letter, text };
enum class Strategy { zero_shot, few_shot, cot, cot_sc, medprompt };
enum class BadRecords { skip, stop };
enum class DecontaminateAction { remove, report };
enum class Identifiers { off, count, mask };

/// The name of a value as the config file spells it ("bf16", "zero-shot").
std::string_view name_of(Precision value);
std::string_view name_of(Recompute value);
std::string_view name_of(Schedule value);
std::string_view name_of(AuxLoss value);
std::string_view name_of(TextFormat value);
std::string_view name_of(Scoring value);
std::string_view name_of(Strategy value);
std::string_view name_of(BadRecords value);
std::string_view name_of(DecontaminateAction value);
std::string_view name_of(Identifiers value);

/// SOURCE:PATH or NAME:PATH; where a name may be left out it is empty then
struct NamedPath {
  std::string name;
  std::string path;
};
/// NAME:WEIGHT:PATH
struct WeightedPath {
  std::string name;
  double weight = 0;
  std::string path;
};

struct TokenizeOptions {
  std::vector<NamedPath> input;
  std::string tokenizer;
  std::string output;
  std::string text_field = "text";
  TextFormat format = TextFormat::text;
  bool deduplicate = true;
  bool add_bos = true;
  BadRecords bad_records = BadRecords::skip;
  std::int64_t shard_tokens = 500'000'000;  // most tokens in one shard file
  std::vector<NamedPath> decontaminate;
  DecontaminateAction decontaminate_action = DecontaminateAction::remove;
  std::int64_t decontaminate_ngram = 13;
  std::int64_t decontaminate_min_words = 8;
  std::int64_t decontaminate_max_documents = 10;  // 0 = no limit
  Identifiers identifiers = Identifiers::off;
};

struct ConvertOptions {
  std::string input;
  std::string output;
  std::string dtype;                         // "" = as stored
  std::int64_t shard_bytes = 5'000'000'000;  // most bytes in one safetensors file
};

struct RunOptions {
  std::string dir;
  std::uint64_t seed = 1234;
  std::int64_t steps = 0;
  std::int64_t stop_at_step = 0;  // 0 = steps
  std::int64_t log_every = 10;
  double max_hours = 0;  // 0 = no limit
  int threads = 0;       // 0 = OMP_NUM_THREADS, else cores / local ranks
  double peer_timeout_s = 600;
  std::string trace;  // "" = none
};

struct ModelOptions {
  std::string from;
  std::string config;
  std::string tokenizer;  // SentencePiece model or HF directory; "" = what lies beside model.from
};

struct DataOptions {
  std::vector<WeightedPath> source;
  std::vector<NamedPath> validation;
  std::int64_t validate_every = 0;         // 0 = only before the first step and at the end
  std::int64_t validation_sequences = 64;  // per set
  std::int64_t sequence_length = 4096;
  std::int64_t global_batch = 256;
  std::int64_t micro_batch = 1;
  bool cross_document = false;
};

struct ParallelOptions {
  std::int64_t tp = 1;
  std::int64_t ep = 1;
  Precision dtype = Precision::bf16;
  Recompute recompute = Recompute::selective;
  bool overlap_reduction = true;
};

struct OptimOptions {
  double learning_rate = 3e-5;
  double min_learning_rate = 3e-6;
  std::int64_t warmup_steps = 100;
  Schedule schedule = Schedule::cosine;
  double decay_fraction = 0.1;  // wsd: share of the steps in the final decay
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0.1;
  double clip_norm = 1.0;  // 0 = off
};

struct RouterOptions {
  AuxLoss aux_loss = AuxLoss::hf;
  double aux_coefficient = -1;  // -1 = from the model's config.json
  double z_coefficient = 0;
};

struct CheckpointOptions {
  std::int64_t interval_steps = 1000;
  std::int64_t keep = 2;
  bool async = false;
};

struct EvalOptions {
  std::string model;
  std::vector<NamedPath> task;
  Scoring scoring = Scoring::letter;
  Strategy strategy = Strategy::zero_shot;
  std::int64_t shots = 0;
  std::vector<NamedPath> train;
  std::int64_t batch_tokens = 16384;
  std::int64_t limit = 0;  // 0 = all
  std::uint64_t seed = 1234;
  std::string output;
};

struct ClusterOptions {
  std::string gpu = "h100";
  std::int64_t gpus_per_node = 8;
  double network_gbytes_per_s = 50;
  double nvlink_gbytes_per_s = 0;  // 0 = of the kind of device, as the next two
  double memory_gbytes_per_s = 0;
  double gemm_efficiency = 0;
  double storage_gbytes_per_s = 10;
};

struct PlanOptions {
  std::int64_t world_size = 0;
  std::string model_config;
  double imbalance = 1;
  bool search = false;
};

}  // namespace osler::config
