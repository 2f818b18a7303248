#include "config/options.hpp"

#include <array>

#include "config/option_fields.hpp"

namespace osler::config {
namespace {

constexpr std::array<Choice<Precision>, 3> kPrecisions{
    {{"fp64", Precision::fp64}, {"fp32", Precision::fp32}, {"bf16", Precision::bf16}}};
constexpr std::array<Choice<Recompute>, 3> kRecomputes{
    {{"none", Recompute::none}, {"selective", Recompute::selective}, {"full", Recompute::full}}};
constexpr std::array<Choice<Schedule>, 4> kSchedules{{{"cosine", Schedule::cosine},
                                                      {"linear", Schedule::linear},
                                                      {"wsd", Schedule::wsd},
                                                      {"constant", Schedule::constant}}};
constexpr std::array<Choice<AuxLoss>, 3> kAuxLosses{
    {{"hf", AuxLoss::hf}, {"megatron", AuxLoss::megatron}, {"off", AuxLoss::off}}};
constexpr std::array<Choice<TextFormat>, 2> kTextFormats{{{"text", TextFormat::text}, {"chat", TextFormat::chat}}};
constexpr std::array<Choice<ChatTemplate>, 4> kChatTemplates{{{"mistral-v1", ChatTemplate::mistral_v1},
                                                              {"mistral-v3", ChatTemplate::mistral_v3},
                                                              {"chatml", ChatTemplate::chatml},
                                                              {"plain", ChatTemplate::plain}}};
constexpr std::array<Choice<TooLong>, 2> kTooLong{{{"drop", TooLong::drop}, {"cut", TooLong::cut}}};
constexpr std::array<Choice<Scoring>, 2> kScorings{{{"letter", Scoring::letter}, {"text", Scoring::text}}};
constexpr std::array<Choice<Strategy>, 5> kStrategies{{{"zero-shot", Strategy::zero_shot},
                                                       {"few-shot", Strategy::few_shot},
                                                       {"cot", Strategy::cot},
                                                       {"cot-sc", Strategy::cot_sc},
                                                       {"medprompt", Strategy::medprompt}}};
constexpr std::array<Choice<AnswerBy>, 3> kAnswers{
    {{"strategy", AnswerBy::strategy}, {"likelihood", AnswerBy::likelihood}, {"generation", AnswerBy::generation}}};
constexpr std::array<Choice<BadRecords>, 2> kBadRecords{{{"skip", BadRecords::skip}, {"stop", BadRecords::stop}}};
constexpr std::array<Choice<DecontaminateAction>, 2> kDecontaminateActions{
    {{"remove", DecontaminateAction::remove}, {"report", DecontaminateAction::report}}};
constexpr std::array<Choice<Identifiers>, 3> kIdentifiers{
    {{"off", Identifiers::off}, {"count", Identifiers::count}, {"mask", Identifiers::mask}}};
constexpr std::array<Choice<Privacy>, 3> kPrivacies{
    {{"none", Privacy::none}, {"text", Privacy::text}, {"all", Privacy::all}}};

template <class Choices, class Enum>
std::string_view name_in(const Choices& choices, Enum value) {
  for (const auto& choice : choices)
    if (choice.value == value) return choice.name;
  return "?";
}

template <class Enum, std::size_t kSize>
std::span<const Choice<Enum>> all(const std::array<Choice<Enum>, kSize>& choices) {
  return choices;
}

constexpr Interval<double> kBelowOne{.least = 0, .most = 1, .open_above = true};

}  // namespace

std::string_view name_of(Precision value) {
  return name_in(kPrecisions, value);
}
std::string_view name_of(Recompute value) {
  return name_in(kRecomputes, value);
}
std::string_view name_of(Schedule value) {
  return name_in(kSchedules, value);
}
std::string_view name_of(AuxLoss value) {
  return name_in(kAuxLosses, value);
}
std::string_view name_of(TextFormat value) {
  return name_in(kTextFormats, value);
}
std::string_view name_of(ChatTemplate value) {
  return name_in(kChatTemplates, value);
}
std::string_view name_of(TooLong value) {
  return name_in(kTooLong, value);
}
std::string_view name_of(Scoring value) {
  return name_in(kScorings, value);
}
std::string_view name_of(Strategy value) {
  return name_in(kStrategies, value);
}
std::string_view name_of(AnswerBy value) {
  return name_in(kAnswers, value);
}
std::string_view name_of(BadRecords value) {
  return name_in(kBadRecords, value);
}
std::string_view name_of(DecontaminateAction value) {
  return name_in(kDecontaminateActions, value);
}
std::string_view name_of(Identifiers value) {
  return name_in(kIdentifiers, value);
}
std::string_view name_of(Privacy value) {
  return name_in(kPrivacies, value);
}

std::vector<Field> fields_of(TokenizeOptions& o) {
  FieldList f("tokenize");
  f.list("input", o.input, "SOURCE:PATH", "raw text: a file, a folder or a glob").needed_by({"tokenize"});
  f.path("tokenizer", o.tokenizer, "SentencePiece model, or Hugging Face directory that holds one")
      .needed_by({"tokenize"});
  f.path("output", o.output, "folder of the token shards").needed_by({"tokenize"});
  f.text("text_field", o.text_field, "JSONL field of the text; several, with commas between, are joined by newlines")
      .needed_by({"tokenize"});
  f.choice("format", o.format, all(kTextFormats),
           "what a document is: running text, or a conversation to fine-tune on");
  f.choice("template", o.chat_template, all(kChatTemplates),
           "chat: how turns become ids; mistral-v1 for Mistral-7B v0.1 and Mixtral-8x7B v0.1, mistral-v3 for v0.3");
  f.flag("deduplicate", o.deduplicate, "drop documents whose text occurred before");
  f.flag("add_bos", o.add_bos, "begin every document with the tokenizer's BOS");
  f.choice("bad_records", o.bad_records, all(kBadRecords), "what to do at a document that cannot be read");
  f.whole("shard_tokens", o.shard_tokens, at_least<std::int64_t>(1), "tokens", "most tokens in one shard file");
  f.list_of_optional_names("decontaminate", o.decontaminate, "[NAME:]PATH",
                           "benchmark file whose items are looked for in the text; NAME: a task of eval.task");
  f.choice("decontaminate_action", o.decontaminate_action, all(kDecontaminateActions),
           "drop the documents that overlap an item, or only say which items are touched");
  f.whole("decontaminate_ngram", o.decontaminate_ngram, Interval<std::int64_t>{.least = 2, .most = 100}, "words",
          "so many words in a row that an item and a document share are an overlap");
  f.whole("decontaminate_min_words", o.decontaminate_min_words, Interval<std::int64_t>{.least = 2, .most = 100},
          "words", "a whole question of so many words in a document is an overlap");
  f.whole("decontaminate_max_documents", o.decontaminate_max_documents, at_least<std::int64_t>(0), "documents",
          "words that are in more of them are a stock phrase and no overlap; 0: nothing is");
  f.choice(
      "identifiers", o.identifiers, all(kIdentifiers),
      "likely dates, telephone and record numbers, e-mail addresses and names: count them, or put [DATE] and the like "
      "in their place; no guarantee of either");
  return f.take();
}

std::vector<Field> fields_of(ConvertOptions& o) {
  FieldList f("convert");
  f.path("input", o.input, "Hugging Face model directory or checkpoint").needed_by({"convert"});
  f.path("output", o.output, "folder to make: the other of the two").needed_by({"convert"});
  f.one_of("dtype", o.dtype, {"bf16", "fp16", "fp32"}, "element type to write; empty: as stored");
  f.whole("shard_bytes", o.shard_bytes, at_least<std::int64_t>(1), "bytes", "most bytes in one safetensors file");
  return f.take();
}

std::vector<Field> fields_of(RunOptions& o) {
  FieldList f("run");
  f.path("dir", o.dir, "folder of checkpoints and metrics").needed_by({"pretrain", "finetune"});
  f.whole("seed", o.seed, Interval<std::uint64_t>{}, "", "key of every random draw of the run");
  f.whole("steps", o.steps, at_least<std::int64_t>(0), "steps",
          "optimizer steps of the whole run; finetune: 0 is what data.epochs takes")
      .needed_by({"pretrain"});
  f.whole("stop_at_step", o.stop_at_step, at_least<std::int64_t>(0), "steps",
          "save and stop early, schedule unchanged; 0: at run.steps");
  f.whole("log_every", o.log_every, at_least<std::int64_t>(1), "steps", "steps between metrics rows");
  f.real("max_hours", o.max_hours, at_least(0.0), "hours", "save and leave with code 75 after this time; 0: no limit");
  f.whole("threads", o.threads, Interval<int>{.least = 0, .most = 4096}, "threads",
          "per rank; 0: OMP_NUM_THREADS, else its share of the cores");
  f.real("peer_timeout_s", o.peer_timeout_s, above(0), "s",
         "a collective in which nothing moves for so long ends the job with code 7");
  f.path("trace", o.trace, "write what ran when to PATH.rank_00000.json, ... (Chrome trace); empty: none");
  f.flag("accept_changed_data", o.accept_changed_data,
         "go on from a checkpoint although the data or their order are others now, and record it");
  return f.take();
}

std::vector<Field> fields_of(ModelOptions& o) {
  FieldList f("model");
  f.path("from", o.from, "Hugging Face directory or checkpoint: weights and config");
  f.path("config", o.config, "a Hugging Face config.json: random initialisation");
  f.path("tokenizer", o.tokenizer,
         "SentencePiece model or Hugging Face directory whose tokenizer files go into checkpoints; empty: those of "
         "model.from");
  return f.take();
}

std::vector<Field> fields_of(DataOptions& o) {
  FieldList f("data");
  f.list(
       "source", o.source, "NAME:WEIGHT:PATH",
       "training tokens, in a shard or a folder of shards; weight: share of tokens (finetune: how often an epoch shows "
       "the source)")
      .needed_by({"pretrain", "finetune"});
  f.list("validation", o.validation, "NAME:PATH", "held-out tokens, each with its own loss");
  f.whole("validate_every", o.validate_every, at_least<std::int64_t>(0), "steps",
          "steps between validations; 0: only before the first step and after the last");
  f.whole("validation_sequences", o.validation_sequences, at_least<std::int64_t>(1), "sequences",
          "of each validation set");
  f.whole("sequence_length", o.sequence_length, at_least<std::int64_t>(2), "tokens", "length of a packed window");
  f.whole("global_batch", o.global_batch, at_least<std::int64_t>(1), "sequences",
          "in one optimizer step, over all ranks");
  f.whole("micro_batch", o.micro_batch, at_least<std::int64_t>(1), "sequences", "in one forward pass of one rank");
  f.flag("cross_document", o.cross_document, "attention crosses document boundaries inside a window");
  f.real("epochs", o.epochs, at_least(0.0), "", "finetune without run.steps: passes over the data");
  f.choice("too_long", o.too_long, all(kTooLong),
           "finetune: a conversation above data.sequence_length is left out, or keeps its first tokens");
  return f.take();
}

std::vector<Field> fields_of(ParallelOptions& o) {
  FieldList f("parallel");
  f.whole("tp", o.tp, at_least<std::int64_t>(1), "ranks", "tensor-parallel size");
  f.whole("ep", o.ep, at_least<std::int64_t>(1), "ranks", "expert-parallel size");
  f.choice("dtype", o.dtype, all(kPrecisions), "of weights and activations; bf16 keeps fp32 masters");
  f.choice("recompute", o.recompute, all(kRecomputes), "what the backward pass computes again to save memory");
  f.flag("overlap_reduction", o.overlap_reduction,
         "sum a layer's gradients over ranks while backward goes on below it; off: after backward");
  return f.take();
}

std::vector<Field> fields_of(OptimOptions& o) {
  FieldList f("optim");
  f.real("learning_rate", o.learning_rate, above(0), "", "peak, after warm-up");
  f.real("min_learning_rate", o.min_learning_rate, at_least(0.0), "", "at the end of the schedule");
  f.whole("warmup_steps", o.warmup_steps, at_least<std::int64_t>(0), "steps", "linear rise from 0");
  f.choice("schedule", o.schedule, all(kSchedules), "way from the peak to the end");
  f.real("decay_fraction", o.decay_fraction, {.least = 0, .most = 1, .open_below = true}, "",
         "wsd: share of the steps in the final decay");
  f.real("beta1", o.beta1, kBelowOne, "", "AdamW: decay of the first moment");
  f.real("beta2", o.beta2, kBelowOne, "", "AdamW: decay of the second moment");
  f.real("eps", o.eps, above(0), "", "AdamW: added to the root of the second moment");
  f.real("weight_decay", o.weight_decay, at_least(0.0), "", "AdamW, matrices only");
  f.real("clip_norm", o.clip_norm, at_least(0.0), "", "most of the global gradient norm; 0: off");
  return f.take();
}

std::vector<Field> fields_of(RouterOptions& o) {
  FieldList f("router");
  f.choice("aux_loss", o.aux_loss, all(kAuxLosses), "load balancing: hf pools all layers, megatron is per layer");
  Field& aux =
      f.real("aux_coefficient", o.aux_coefficient, at_least(-1.0), "", "-1: router_aux_loss_coef of config.json");
  aux.bound = "-1 or >= 0";
  f.real("z_coefficient", o.z_coefficient, at_least(0.0), "", "of the mean squared logsumexp of the router logits");
  return f.take();
}

std::vector<Field> fields_of(NeftuneOptions& o) {
  FieldList f("neftune");
  f.real("alpha", o.alpha, at_least(0.0), "",
         "noise on embeddings in training, uniform in +-alpha / sqrt(length * hidden_size); 0: off, 5: the usual");
  return f.take();
}

std::vector<Field> fields_of(CheckpointOptions& o) {
  FieldList f("checkpoint");
  f.whole("interval_steps", o.interval_steps, at_least<std::int64_t>(1), "steps", "between checkpoints");
  f.whole("keep", o.keep, at_least<std::int64_t>(1), "checkpoints", "newest ones kept on disk");
  f.list("keep_step", o.keep_step, at_least<std::int64_t>(1), "steps",
         "saved when reached and never removed, beside the newest ones");
  f.flag("async", o.async, "write while training goes on");
  return f.take();
}

std::vector<Field> fields_of(EvalOptions& o) {
  FieldList f("eval");
  f.path("model", o.model, "Hugging Face directory or checkpoint; not needed with eval.responses");
  f.list("task", o.task, "NAME:PATH", "task by lm-eval's name and the file or folder of its items")
      .needed_by({"evaluate"});
  f.choice("scoring", o.scoring, all(kScorings), "what is compared: the options' letters or their text");
  f.choice("strategy", o.strategy, all(kStrategies), "how a question is put");
  f.choice("answer", o.answer, all(kAnswers),
           "by the likelihood of each choice or from generated text; strategy: likelihood for zero-shot and few-shot");
  f.text("prompt", o.prompt,
         "built-in prompt (lm-eval, meditron, zero-shot, few-shot, cot), file or folder of files; empty: the "
         "strategy's own");
  f.one_of("template", o.chat_template, {"none", "mistral-v1", "mistral-v3", "chatml", "plain"},
           "puts the prompt as a turn of a chat, for fine-tuned models");
  f.whole("shots", o.shots, at_least<std::int64_t>(-1), "",
          "exemplars before a question; -1: 5 for few-shot and medprompt, else 0");
  f.list("train", o.train, "NAME:PATH", "training split of a task, for exemplars");
  f.whole("samples", o.samples, at_least<std::int64_t>(1), "",
          "answers that vote: samples of cot-sc, option orders of medprompt");
  f.real("temperature", o.temperature, at_least(0.0), "", "of cot-sc's samples and medprompt's second tries");
  f.real("top_p", o.top_p, {.least = 0, .most = 1, .open_below = true}, "", "share of the probability to sample from");
  f.whole("max_new_tokens", o.max_new_tokens, at_least<std::int64_t>(1), "tokens", "of one generated answer");
  f.flag("medprompt_knn", o.medprompt_knn, "exemplars nearest to the question; off: drawn at random");
  f.flag("medprompt_cot", o.medprompt_cot, "the model's own reasoning in exemplars and answers; off: answers only");
  f.flag("medprompt_shuffle", o.medprompt_shuffle, "eval.samples option orders vote; off: one answer");
  f.whole("medprompt_tries", o.medprompt_tries, at_least<std::int64_t>(1), "",
          "to reason an exemplar to its gold answer; the first is greedy");
  f.whole("medprompt_candidates", o.medprompt_candidates, at_least<std::int64_t>(1), "",
          "nearest training questions that are tried for one question's exemplars");
  f.path("embeddings", o.embeddings, "HDF5 file of vectors for medprompt; empty: by the model under test");
  f.list("responses", o.responses, "NAME:PATH", "samples file of a task, graded anew without a model");
  f.list("contamination", o.contamination, "NAME:PATH",
         "tokenize's report on a task's file, for scores of clean and touched items");
  f.whole("group_items", o.group_items, at_least<std::int64_t>(1), "items",
          "that go through the model together: what a kill may cost; more keep the batch fuller");
  f.whole("batch_tokens", o.batch_tokens, at_least<std::int64_t>(1), "tokens", "in one forward pass of one rank");
  f.whole("limit", o.limit, at_least<std::int64_t>(0), "items", "first items of each task only; 0: all");
  f.whole("seed", o.seed, Interval<std::uint64_t>{}, "", "key of every random draw");
  f.path("output", o.output, "folder of the results").needed_by({"evaluate"});
  return f.take();
}

std::int64_t EvalOptions::num_shots() const {
  constexpr std::int64_t kOwn = 5;  // MMLU's and MedPrompt's number
  if (shots >= 0) return shots;
  return strategy == Strategy::few_shot || strategy == Strategy::medprompt ? kOwn : 0;
}

bool EvalOptions::answers_by_generation() const {
  if (!responses.empty()) return true;
  if (answer != AnswerBy::strategy) return answer == AnswerBy::generation;
  return strategy != Strategy::zero_shot && strategy != Strategy::few_shot;
}

std::vector<Field> fields_of(FilesOptions& o) {
  FieldList f("files");
  f.choice("private", o.privacy, all(kPrivacies),
           "whose files are that hold text (shards, samples, journals) or all of them: only the owner's; none: as the "
           "umask says");
  f.real("visible_within_s", o.visible_within_s, at_least(0.0), "s",
         "that a file which rank 0 sees may take to show on another node of a network file system");
  f.real("owner_silence_s", o.owner_silence_s, at_least(1.0), "s",
         "after which a job on another node that gave no sign counts as dead, and its run.dir may be taken over");
  f.flag("check_space", o.check_space, "refuse to start where not one checkpoint fits; off: only warn");
  return f.take();
}

std::vector<Field> fields_of(ClusterOptions& o) {
  FieldList f("cluster");
  f.one_of("gpu", o.gpu, {"h100", "h200", "a100", "cpu"}, "kind of device, for forecasts and mfu");
  f.whole("gpus_per_node", o.gpus_per_node, at_least<std::int64_t>(1), "", "ranks on one node");
  f.real("network_gbytes_per_s", o.network_gbytes_per_s, above(0), "GB/s", "from one rank to other nodes, each way");
  f.real("nvlink_gbytes_per_s", o.nvlink_gbytes_per_s, at_least(0.0), "GB/s",
         "attained by one rank inside a node, each way; 0: h100 and h200 365, a100 235");
  f.real("memory_gbytes_per_s", o.memory_gbytes_per_s, at_least(0.0), "GB/s",
         "peak of a device's memory; 0: h100 3350, h200 4800, a100 2039");
  f.real("gemm_efficiency", o.gemm_efficiency, {.least = 0, .most = 1}, "",
         "best share of the matrix peak that a GEMM attains; 0: h100 and h200 0.803, a100 0.869");
  f.real("storage_gbytes_per_s", o.storage_gbytes_per_s, above(0), "GB/s",
         "what all ranks together write to the shared file system");
  return f.take();
}

std::vector<Field> fields_of(PlanOptions& o) {
  FieldList f("plan");
  f.whole("world_size", o.world_size, Interval<std::int64_t>{.least = 1, .most = 1'000'000}, "ranks",
          "ranks to plan for")
      .needed_by({"plan"});
  f.path("model_config", o.model_config, "config.json to plan with while model.from is not on this machine");
  f.real("imbalance", o.imbalance, at_least(1.0), "", "rows of the fullest expert rank over the mean; 1: even");
  f.flag("search", o.search, "rank the layouts of this world size by step time; --search alone means on");
  f.flag("pieces", o.pieces, "print the pieces of a study for a driver, a line each; --pieces alone means on");
  return f.take();
}

std::vector<Field> fields_of(StudyOptions& o) {
  FieldList f("study");
  f.path("dir", o.dir, "folder of all runs, evaluations and figures of the study");
  f.path("pretrain", o.pretrain, "config file of continued pretraining");
  f.list("tokens", o.tokens, at_least<std::int64_t>(1), "tokens",
         "points t of pretraining whose model is evaluated and fine-tuned, rising; t = 0, where training starts from "
         "weights, always is");
  f.path("finetune", o.finetune, "config file of instruct fine-tuning; empty: none");
  f.list("neftune_alpha", o.neftune_alpha, at_least(0.0), "", "of each fine-tuning; 0: without noise");
  f.path("evaluate_common", o.evaluate_common, "config file under those of all ways of asking: tasks, layout");
  f.list("evaluate", o.evaluate, "NAME:PATH", "a way of asking every model, by name, and its config file");
  f.path("evaluate_finetuned", o.evaluate_finetuned, "config file laid over those for fine-tuned models");
  return f.take();
}

DataOptions finetune_data_defaults() {
  DataOptions data;
  data.global_batch = 64;
  data.epochs = 3;
  return data;
}

OptimOptions finetune_optim_defaults() {
  OptimOptions optim;
  optim.learning_rate = 1e-5;
  optim.min_learning_rate = 1e-6;
  optim.warmup_steps = 30;
  optim.weight_decay = 0;
  return optim;
}

std::vector<Field> EveryOption::fields() {
  std::vector<Field> all_fields;
  const auto append = [&](auto& options) {
    for (Field& field : fields_of(options)) all_fields.push_back(std::move(field));
  };
  append(tokenize), append(convert), append(run), append(model), append(data), append(parallel);
  append(optim), append(router), append(neftune), append(checkpoint), append(eval), append(files), append(cluster),
      append(plan);
  append(study);
  return all_fields;
}

std::string section_of_verb(const std::string& verb) {
  return verb == "evaluate" ? "eval" : verb;
}

}  // namespace osler::config
