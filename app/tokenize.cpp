// osler tokenize: raw corpora to token shards, over all ranks. Two passes: the first counts, names what cannot be used
// and takes sums; when duplicates are known on all ranks, the second encodes. See docs/formats.md for what it leaves.
#include <algorithm>
#include <cctype>
#include <cmath>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/folder_owner.hpp"
#include "base/log.hpp"
#include "base/output_place.hpp"
#include "base/sha256.hpp"
#include "config/parser.hpp"
#include "data/corpus.hpp"
#include "data/corpus_pass.hpp"
#include "data/decontaminate.hpp"
#include "data/deduplicate.hpp"
#include "data/overlap_index.hpp"
#include "text/chat_template.hpp"
#include "text/tokenizer.hpp"
#include "tokenize_benchmarks.hpp"
#include "tokenize_output.hpp"
#include "tokenize_report.hpp"
#include "verbs.hpp"

namespace osler::app {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kSecondsPerLine = 10;           // of progress
constexpr std::int64_t kDocumentsPerLook = 512;  // between two looks at whether another rank has failed

double in_tenths(double value) {
  return std::round(value * 10) / 10;
}

std::string speed_of(std::int64_t documents, std::int64_t bytes, double seconds) {
  return text_of(std::llround(static_cast<double>(documents) / seconds), " documents/s, ",
                 in_tenths(static_cast<double>(bytes) / seconds / 1e6), " MB/s");
}

/// Says how far this process is, and whether it should go on.
class Progress {
 public:
  Progress(std::string what, std::int64_t total_bytes, int num_ranks, const TokenizeOutput& output)
      : what_(std::move(what)), total_bytes_(total_bytes), num_ranks_(num_ranks), output_(output) {}

  bool operator()(std::int64_t text_bytes) {
    bytes_ += text_bytes;
    ++documents_;
    if (watch_.elapsed_s() - told_s_ > kSecondsPerLine) tell();
    return documents_ % kDocumentsPerLook != 0 || !output_.is_marked_failed();
  }

 private:
  void tell() {
    told_s_ = watch_.elapsed_s();
    log::info(what_, num_ranks_ > 1 ? text_of(" (rank 0 of ", num_ranks_, ")") : "", ": ", documents_, " documents, ",
              bytes_ / 1'000'000, " MB of about ", total_bytes_ / 1'000'000, ", ",
              speed_of(documents_, bytes_, told_s_));
  }

  std::string what_;
  std::int64_t total_bytes_;
  int num_ranks_;
  const TokenizeOutput& output_;
  Stopwatch watch_;
  double told_s_ = 0;
  std::int64_t bytes_ = 0;
  std::int64_t documents_ = 0;
};

void require_usable(const config::TokenizeOptions& options) {
  if (options.input.empty()) throw ConfigError("tokenize.input is missing: give SOURCE:PATH");
  if (options.tokenizer.empty())
    throw ConfigError("tokenize.tokenizer is missing: a SentencePiece model or a Hugging Face folder");
  if (options.output.empty()) throw ConfigError("tokenize.output is missing: a folder for the shards");
  for (const config::NamedPath& input : options.input) {
    const bool plain = std::all_of(input.name.begin(), input.name.end(), [](unsigned char c) {
      return std::isalnum(c) != 0 || c == '_' || c == '-' || c == '.';
    });
    if (!plain || input.name.empty() || input.name.front() == '.' || input.name == "tokenize.json" ||
        TokenizeOutput::is_beside_sources(input.name)) {
      throw ConfigError("tokenize.input: source name '", input.name,
                        "' becomes a folder: use letters, digits, '_', '-' and '.' inside");
    }
  }
}

/// One rank lists the files, so that all see the same ones. *Collective.*
data::Corpus list_for_all(comm::Group& group, const std::vector<config::NamedPath>& inputs) {
  Json packed = Json::array();
  comm::agree_after(group, [&] {
    if (group.rank() != 0) return;
    for (const data::CorpusSource& source : data::list_corpus(inputs)) {
      Json files = Json::array();
      for (const data::CorpusFile& file : source.files) {
        files.push_back({Json::binary({file.path.begin(), file.path.end()}), file.num_bytes, file.modified_ns});
      }
      packed.push_back({source.name, std::move(files)});
    }
  });
  const std::vector<std::uint8_t> cbor = Json::to_cbor(packed);
  const std::string bytes = group.broadcast_bytes(std::string(cbor.begin(), cbor.end()), 0);
  data::Corpus corpus;
  for (const Json& source : Json::from_cbor(bytes)) {
    data::CorpusSource& added = corpus.emplace_back();
    added.name = source.at(0).get<std::string>();
    for (const Json& file : source.at(1)) {
      const std::vector<std::uint8_t>& path = file.at(0).get_binary();
      added.files.push_back(
          {std::string(path.begin(), path.end()), file.at(1).get<std::int64_t>(), file.at(2).get<std::int64_t>()});
    }
  }
  return corpus;
}

std::vector<std::string> names_of(const data::Corpus& corpus) {
  std::vector<std::string> names;
  for (const data::CorpusSource& source : corpus) names.push_back(source.name);
  return names;
}

/// The run's parts after everything that may be refused has been checked.
class TokenizeRun {
 public:
  TokenizeRun(comm::Group& group, const config::TokenizeOptions& options, const data::Corpus& corpus,
              const std::vector<data::Benchmark>& benchmarks, const text::Tokenizer& tokenizer,
              const TokenizeOutput& output)
      : group_(group),
        options_(options),
        corpus_(corpus),
        benchmarks_(benchmarks),
        tokenizer_(tokenizer),
        output_(output),
        units_(data::plan_units(corpus)),
        index_(benchmarks, overlap_rules_of(options)),
        overlaps_(index_) {}

  std::size_t num_units() const { return units_.size(); }

  /// The report without what only the caller knows. *Collective.*
  Json run() {
    scan();
    Json report = gather_scan(group_, corpus_, units_, results_, options_.identifiers);
    comm::agree_after(group_, [&] { tell_problems(report); });
    std::vector<data::UnitVerdict> verdicts = find_duplicates();
    if (!benchmarks_.empty()) report["decontamination"] = decontaminate(verdicts);
    write(verdicts);
    add_tokens(report, group_, corpus_, units_, results_);
    return report;
  }
  /// Beside the shards, after run(): {name: content}.
  const std::map<std::string, std::string>& files() const { return files_; }

 private:
  /// Runs on every rank; a failing one makes the others stop soon, then all leave with its message. *Collective.*
  template <class Work>
  void together(Work&& work) {
    comm::agree_after(group_, [&] {
      try {
        work();
      } catch (...) {
        output_.mark_failed();
        throw;
      }
    });
  }

  void scan() {
    Stopwatch watch;
    const std::vector<std::size_t> mine = data::units_of_rank(units_, group_.rank(), group_.size());
    together([&] {
      std::int64_t bytes = 0;
      for (const std::size_t unit : mine) bytes += units_[unit].cost_bytes;
      Progress progress("reading", bytes, group_.size(), output_);
      const auto tick = [&](std::int64_t text_bytes) { return progress(text_bytes); };
      for (const std::size_t unit : mine) {
        if (output_.is_marked_failed()) return;
        results_.push_back(
            {unit,
             data::scan_unit(corpus_, units_[unit], options_, tick, benchmarks_.empty() ? nullptr : &overlaps_),
             {}});
      }
    });
    tell("read", watch.elapsed_s());
  }

  /// *Collective.*
  std::vector<data::UnitVerdict> find_duplicates() {
    std::vector<data::UnitVerdict> verdicts(results_.size());
    if (!options_.deduplicate) return verdicts;
    std::vector<data::UnitDigests> digests;
    for (UnitResult& result : results_) digests.push_back({result.unit, std::exchange(result.scan.digests, {})});
    std::vector<std::vector<char>> flags = data::find_duplicates(group_, digests);
    for (std::size_t i = 0; i < verdicts.size(); ++i) verdicts[i].is_duplicate = std::move(flags[i]);
    return verdicts;
  }

  /// *Collective.*
  Json decontaminate(std::vector<data::UnitVerdict>& verdicts) {
    std::vector<data::UnitOverlaps> overlaps;
    for (std::size_t i = 0; i < results_.size(); ++i) {
      data::UnitScan& scan = results_[i].scan;
      overlaps.push_back({static_cast<std::size_t>(units_[results_[i].unit].source),
                          static_cast<std::size_t>(scan.num_documents), std::exchange(scan.hits, {}),
                          verdicts[i].is_duplicate});
    }
    data::OverlapJudgement judgement =
        data::judge_overlaps(group_, index_, corpus_.size(), overlaps_.num_documents(), overlaps);
    const config::DecontaminateAction action = options_.decontaminate_action;
    for (std::size_t i = 0; action == config::DecontaminateAction::remove && i < verdicts.size(); ++i)
      verdicts[i].is_contaminated = std::move(judgement.is_contaminated[i]);
    for (data::UnitVerdict& verdict : verdicts) verdict.decontaminated_against = stamp_of(benchmarks_, action);
    files_ = contamination_files(benchmarks_, judgement);
    return contamination_summary(benchmarks_, index_, action, judgement, names_of(corpus_));
  }

  void write(const std::vector<data::UnitVerdict>& verdicts) {
    Stopwatch watch;
    together([&] {
      std::int64_t bytes = 0;
      for (const UnitResult& result : results_) bytes += result.scan.text_bytes;
      Progress progress("tokenizing", bytes, group_.size(), output_);
      const auto tick = [&](std::int64_t text_bytes) { return progress(text_bytes); };
      for (std::size_t i = 0; i < results_.size(); ++i) {
        if (output_.is_marked_failed()) return;
        const data::WorkUnit& unit = units_[results_[i].unit];
        results_[i].tokens =
            data::write_unit(corpus_, unit, options_, results_[i].scan, verdicts[i], tokenizer_,
                             output_.staging_of(corpus_[static_cast<std::size_t>(unit.source)].name), tick);
      }
    });
    tell("tokenized", watch.elapsed_s());
  }

  /// *Collective.*
  void tell(const char* what, double seconds) {
    std::int64_t documents = 0;
    std::int64_t bytes = 0;
    for (const UnitResult& result : results_) {
      documents += result.scan.num_documents;
      bytes += result.scan.text_bytes;
    }
    documents = group_.all_reduce_value(documents, comm::ReduceOp::sum);
    bytes = group_.all_reduce_value(bytes, comm::ReduceOp::sum);
    seconds = std::max(group_.all_reduce_value(seconds, comm::ReduceOp::max), 1e-3);
    log::info(what, " ", documents, " documents, ", in_tenths(static_cast<double>(bytes) / 1e6), " MB in ",
              in_tenths(seconds), " s on ", group_.size(),
              group_.size() == 1 ? " rank: " : " ranks: ", speed_of(documents, bytes, seconds));
  }

  comm::Group& group_;
  const config::TokenizeOptions& options_;
  const data::Corpus& corpus_;
  const std::vector<data::Benchmark>& benchmarks_;
  const text::Tokenizer& tokenizer_;
  const TokenizeOutput& output_;
  std::vector<data::WorkUnit> units_;
  data::OverlapIndex index_;
  data::OverlapScanner overlaps_;
  std::map<std::string, std::string> files_;
  std::vector<UnitResult> results_;
};

/// Header of tokenize.json; the sources and problems follow.
Json describe(const config::Parser& parser, const std::string& inputs_sha256, const text::Tokenizer& tokenizer,
              int num_ranks, double seconds) {
  Json report;
  report["format_version"] = 1;
  report["created_by"] = "osler";
  report["created"] = utc_timestamp();
  report["config_hash"] = parser.config_hash();
  report["inputs_sha256"] = inputs_sha256;
  report["tokenizer_sha256"] = tokenizer.sha256();
  report["vocab_size"] = tokenizer.vocab_size();
  report["bos_id"] = tokenizer.bos_id();
  report["eos_id"] = tokenizer.eos_id();
  report["ranks"] = num_ranks;
  report["seconds"] = seconds;
  report["config"] = parser.resolved_ini();
  return report;
}

void tell_result(const Json& report, const std::string& folder) {
  for (const auto& [name, source] : report["sources"].items()) {
    std::string dropped;
    for (const auto& [reason, count] : source["dropped"].items()) {
      dropped += text_of(dropped.empty() ? "; dropped: " : ", ", count.get<std::int64_t>(), " ", reason);
    }
    log::info("source ", name, ": ", source["documents"].get<std::int64_t>(), " documents, ",
              source["tokens"].get<std::int64_t>(), " tokens in ", source["shards"].get<std::int64_t>(), " shard(s)",
              dropped);
    if (!source.contains("identifiers")) continue;
    std::string found;
    for (const auto& [kind, count] : source["identifiers"].items())
      found += text_of(found.empty() ? "" : ", ", count.get<std::int64_t>(), " ", kind);
    log::info("source ", name, ": likely identifiers ",
              report["identifiers"] == "mask" ? "masked: " : "left in: ", found);
  }
  if (report.contains("decontamination")) tell_contamination(report["decontamination"]);
  log::info("token shards are in ", folder);
}

/// Files by their size and time, benchmarks by what is in them: a few megabytes, which everything depends on.
std::string fingerprint_of(const data::Corpus& corpus, const std::vector<data::Benchmark>& benchmarks) {
  std::string known = data::fingerprint_of(corpus);
  for (const data::Benchmark& benchmark : benchmarks) known = sha256_hex(known + " " + benchmark.file_sha256);
  return known;
}

/// *Collective.*
ExitCode run_tokenize(comm::Group& group, const config::Parser& parser, const config::TokenizeOptions& options,
                      const config::FilesOptions& files, bool dry_run) {
  Stopwatch watch;
  comm::agree_after(group, [&] {
    if (group.rank() == 0) require_writable_place("tokenize.output", options.output);
  });
  const data::Corpus corpus = list_for_all(group, options.input);
  std::unique_ptr<text::Tokenizer> tokenizer;
  std::vector<data::Benchmark> benchmarks;
  comm::agree_after(group, [&] {
    benchmarks = load_benchmarks(options.decontaminate);
    tokenizer = std::make_unique<text::Tokenizer>(options.tokenizer);
    if (tokenizer->eos_id() < 0)
      throw DataError("tokenizer ", options.tokenizer, " has no end-of-sequence piece to end documents with");
    if (options.format == config::TextFormat::chat)  // the tokenizer may lack what the template needs
      text::ChatTemplate(text::template_from_name(config::name_of(options.chat_template)), *tokenizer);
  });
  const std::string inputs_sha256 = fingerprint_of(corpus, benchmarks);
  TokenizeOutput output(options.output, names_of(corpus));
  std::int64_t complete = 0;
  std::unique_ptr<FolderOwner> owner;  // of rank 0: what a killed run left is removed, not what a living one writes
  comm::agree_after(group, [&] {
    if (group.rank() == 0 && !dry_run)
      owner = std::make_unique<FolderOwner>("tokenize.output", options.output, files.owner_silence_s);
    if (group.rank() == 0)
      complete =
          output.begin(parser.config_hash(), inputs_sha256, parser.resolved_ini()) == TokenizeOutput::State::complete
              ? 1
              : 0;
  });
  if (group.all_reduce_value(complete, comm::ReduceOp::max) != 0) {
    log::info(options.output, " is complete already: nothing to do");
    return ExitCode::done;
  }
  TokenizeRun run(group, options, corpus, benchmarks, *tokenizer, output);
  if (dry_run) {
    log::info("dry run: ", run.num_units(), " unit(s) of work, vocabulary of ", tokenizer->vocab_size(), ", to ",
              options.output);
    return ExitCode::done;
  }
  try {
    comm::agree_after(group, [&] {
      if (group.rank() == 0) output.create(parser.config_hash());
    });
    Json report = run.run();
    Json whole = describe(parser, inputs_sha256, *tokenizer, group.size(), watch.elapsed_s());
    whole.update(report);
    comm::agree_after(group, [&] {
      if (group.rank() == 0)
        output.publish(whole.dump(2, ' ', false, Json::error_handler_t::replace) + "\n", run.files());
    });
    if (group.rank() == 0) tell_result(report, options.output);
  } catch (...) {
    if (group.rank() == 0) output.discard();
    throw;
  }
  return ExitCode::done;
}

}  // namespace

ExitCode tokenize(comm::World& world, const Arguments& arguments) {
  config::TokenizeOptions options;
  config::FilesOptions files;
  config::Parser parser("tokenize", "raw corpora to token shards");
  parser.add(options);
  parser.add(files);
  const config::Action action = parser.parse(arguments);
  set_file_privacy(files.privacy);
  if (action == config::Action::help || action == config::Action::print_config) {
    if (world.host().rank() == 0) std::cout << (action == config::Action::help ? parser.help() : parser.print_config());
    return ExitCode::done;
  }
  require_usable(options);
  return run_tokenize(world.host(), parser, options, files, action == config::Action::dry_run);
}

}  // namespace osler::app
