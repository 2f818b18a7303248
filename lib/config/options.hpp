// The options of every section, each declared once: field, default, bound, unit and help stand together in
// options.cpp, and that one list drives parsing, help, validation, --print-config and what checkpoints and tables
// store.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_mode.hpp"

namespace osler::config {

enum class Precision { fp64, fp32, bf16 };
enum class Recompute { none, selective, full };
enum class Schedule { cosine, linear, wsd, constant };
enum class AuxLoss { hf, megatron, off };
enum class TextFormat { text, chat };
enum class ChatTemplate { mistral_v1, mistral_v3, chatml, plain };
enum class TooLong { drop, cut };
enum class Scoring { letter, text };
enum class Strategy { zero_shot, few_shot, cot, cot_sc, medprompt };
enum class AnswerBy { strategy, likelihood, generation };
enum class BadRecords { skip, stop };
enum class DecontaminateAction { remove, report };
enum class Identifiers { off, count, mask };
using Privacy = FilePrivacy;

/// The name of a value as the config file spells it ("bf16", "zero-shot").
std::string_view name_of(Precision value);
std::string_view name_of(Recompute value);
std::string_view name_of(Schedule value);
std::string_view name_of(AuxLoss value);
std::string_view name_of(TextFormat value);
std::string_view name_of(ChatTemplate value);
std::string_view name_of(TooLong value);
std::string_view name_of(Scoring value);
std::string_view name_of(Strategy value);
std::string_view name_of(AnswerBy value);
std::string_view name_of(BadRecords value);
std::string_view name_of(DecontaminateAction value);
std::string_view name_of(Identifiers value);
std::string_view name_of(Privacy value);

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
  ChatTemplate chat_template = ChatTemplate::mistral_v1;
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
  bool accept_changed_data = false;
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
  double epochs = 0;  // finetune without run.steps
  TooLong too_long = TooLong::drop;
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

struct NeftuneOptions {
  double alpha = 0;  // 0 = off
};

struct CheckpointOptions {
  std::int64_t interval_steps = 1000;
  std::int64_t keep = 2;
  std::vector<std::int64_t> keep_step;
  bool async = false;
};

struct EvalOptions {
  std::string model;
  std::vector<NamedPath> task;
  Scoring scoring = Scoring::letter;
  Strategy strategy = Strategy::zero_shot;
  AnswerBy answer = AnswerBy::strategy;
  std::string prompt;                  // "" = the strategy's own
  std::string chat_template = "none";  // key eval.template
  std::int64_t shots = -1;             // -1 = the strategy's own number
  std::vector<NamedPath> train;
  std::int64_t samples = 5;
  double temperature = 0.7;
  double top_p = 1;
  std::int64_t max_new_tokens = 512;
  std::int64_t group_items = 64;
  bool medprompt_knn = true;
  bool medprompt_cot = true;
  bool medprompt_shuffle = true;
  std::int64_t medprompt_tries = 3;
  std::int64_t medprompt_candidates = 25;
  std::string embeddings;  // "" = by the model under test
  std::vector<NamedPath> responses;
  std::vector<NamedPath> contamination;
  std::int64_t batch_tokens = 16384;
  std::int64_t limit = 0;  // 0 = all
  std::uint64_t seed = 1234;
  std::string output;

  std::int64_t num_shots() const;      ///< shots, or the strategy's own number
  bool answers_by_generation() const;  ///< else by log-likelihood
};

/// How files are written and waited for; nothing here changes what is in them.
struct FilesOptions {
  Privacy privacy = Privacy::text;  // key files.private
  double visible_within_s = 90;
  double owner_silence_s = 60;
  bool check_space = true;
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
  bool pieces = false;
};

/// Versions of a model after ever more tokens, fine-tuned or not, and how each is asked.
struct StudyOptions {
  std::string dir;
  std::string pretrain;
  std::vector<std::int64_t> tokens;
  std::string finetune;
  std::vector<double> neftune_alpha{0};
  std::string evaluate_common;
  std::vector<NamedPath> evaluate;
  std::string evaluate_finetuned;
};

/// What osler finetune starts from where it differs: an answer is learnt in fewer, smaller and gentler steps than a
/// language. Source: arXiv 2310.05914 (3 epochs, 128 sequences, no decay), mistral-finetune's README (rates).
DataOptions finetune_data_defaults();
OptimOptions finetune_optim_defaults();

}  // namespace osler::config
