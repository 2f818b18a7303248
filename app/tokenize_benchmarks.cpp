#include "tokenize_benchmarks.hpp"

#include <algorithm>
#include <array>
#include <exception>
#include <filesystem>
#include <set>
#include <utility>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/sha256.hpp"
#include "eval/question.hpp"
#include "eval/task.hpp"

namespace osler::app {
namespace {

using Json = nlohmann::ordered_json;
using eval::FileFormat;

bool is_task_name(const std::string& name) {
  constexpr std::array kTasks{"medqa_4options", "medqa_5options", "medmcqa", "pubmedqa"};
  return name.starts_with("mmlu_") || std::find(kTasks.begin(), kTasks.end(), name) != kTasks.end();
}

std::vector<eval::Question> read_whatever_it_is(const std::string& path) {
  std::vector<FileFormat> formats{FileFormat::generic, FileFormat::medqa_4_options, FileFormat::medqa_5_options,
                                  FileFormat::medmcqa};
  if (path.ends_with(".csv")) formats = {FileFormat::mmlu};
  if (path.ends_with(".json")) formats.push_back(FileFormat::pubmedqa);
  std::exception_ptr first;
  for (const FileFormat format : formats) {
    try {
      return eval::read_questions(format, path);
    } catch (const DataError&) {
      if (!first) first = std::current_exception();
    }
  }
  std::rethrow_exception(first);
}

data::Benchmark benchmark_of(std::string name, const std::string& path, std::vector<eval::Question> questions) {
  data::Benchmark benchmark{std::move(name), path, sha256_hex_of_file(path), {}};
  for (eval::Question& question : questions) {
    benchmark.items.push_back(
        {std::move(question.id), question.line, std::move(question.text), std::move(question.options)});
  }
  return benchmark;
}

std::string name_from_file(const std::string& path) {
  std::string name = std::filesystem::path(path).filename().string();
  name.resize(std::min(name.find('.'), name.size()));
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '_' && c != '-') c = '_';
  }
  if (name.empty()) throw ConfigError("tokenize.decontaminate: give ", path, " a name: NAME:PATH");
  return name;
}

}  // namespace

std::vector<data::Benchmark> load_benchmarks(const std::vector<config::NamedPath>& named) {
  std::vector<data::Benchmark> benchmarks;
  std::set<std::string> names;
  for (const config::NamedPath& entry : named) {
    const std::string name = entry.name.empty() ? name_from_file(entry.path) : entry.name;
    if (is_task_name(name)) {
      config::EvalOptions questions_only;
      questions_only.task = {{name, entry.path}};
      for (eval::Task& task : eval::load_tasks(questions_only))
        benchmarks.push_back(benchmark_of(task.name, task.path, std::move(task.questions)));
    } else {
      benchmarks.push_back(benchmark_of(name, entry.path, read_whatever_it_is(entry.path)));
    }
  }
  for (const data::Benchmark& benchmark : benchmarks) {
    if (!names.insert(benchmark.name).second)
      throw ConfigError("tokenize.decontaminate: two files are called ", benchmark.name, "; name them NAME:PATH");
  }
  return benchmarks;
}

data::OverlapRules overlap_rules_of(const config::TokenizeOptions& options) {
  return {options.decontaminate_ngram, options.decontaminate_min_words, options.decontaminate_max_documents};
}

std::string stamp_of(const std::vector<data::Benchmark>& benchmarks, config::DecontaminateAction action) {
  std::string stamp;
  if (action != config::DecontaminateAction::remove) return stamp;
  for (const data::Benchmark& benchmark : benchmarks)
    stamp += text_of(stamp.empty() ? "" : " ", benchmark.name, ":", benchmark.file_sha256);
  return stamp;
}

Json contamination_summary(const std::vector<data::Benchmark>& benchmarks, const data::OverlapIndex& index,
                           config::DecontaminateAction action, const data::OverlapJudgement& judgement,
                           const std::vector<std::string>& sources) {
  Json summary;
  summary["action"] = config::name_of(action);
  summary["ngram_words"] = index.rules().ngram_words;
  summary["min_question_words"] = index.rules().min_question_words;
  summary["max_documents"] = index.rules().max_documents;
  summary["stock_phrases"] = judgement.num_stock;
  summary["benchmarks"] = Json::object();
  std::size_t item = 0;
  for (std::size_t b = 0; b < benchmarks.size(); ++b) {
    std::int64_t touched = 0;
    std::int64_t whole = 0;
    std::int64_t too_short = 0;
    for (std::size_t i = 0; i < benchmarks[b].items.size(); ++i, ++item) {
      touched += judgement.items[item].documents > 0 ? 1 : 0;
      whole += judgement.items[item].question_hit ? 1 : 0;
      too_short += index.is_too_short(item) ? 1 : 0;
    }
    Json documents = Json::object();
    for (std::size_t s = 0; s < sources.size(); ++s) documents[sources[s]] = judgement.documents[b][s];
    summary["benchmarks"][benchmarks[b].name] = {{"file", benchmarks[b].file},
                                                 {"file_sha256", benchmarks[b].file_sha256},
                                                 {"items", benchmarks[b].items.size()},
                                                 {"touched", touched},
                                                 {"question_hits", whole},
                                                 {"too_short", too_short},
                                                 {"documents", documents}};
  }
  return summary;
}

std::map<std::string, std::string> contamination_files(const std::vector<data::Benchmark>& benchmarks,
                                                       const data::OverlapJudgement& judgement) {
  std::map<std::string, std::string> files;
  std::size_t number = 0;
  for (const data::Benchmark& benchmark : benchmarks) {
    std::string& lines = files["contamination_" + benchmark.name + ".jsonl"];
    for (std::size_t i = 0; i < benchmark.items.size(); ++i, ++number) {
      const data::ItemOverlap& overlap = judgement.items[number];
      if (overlap.documents == 0) continue;
      const data::BenchmarkItem& item = benchmark.items[i];
      const Json line = {{"item", i},
                         {"id", item.id},
                         {"line", item.line},
                         {"question_sha256", sha256_hex(item.question)},
                         {"ngram_hits", overlap.ngram_hits},
                         {"question_hit", overlap.question_hit},
                         {"documents", overlap.documents}};
      lines += line.dump() + "\n";
    }
  }
  return files;
}

void tell_contamination(const Json& summary) {
  const bool removed = summary["action"] == config::name_of(config::DecontaminateAction::remove);
  for (const auto& [name, benchmark] : summary["benchmarks"].items()) {
    std::string documents;
    for (const auto& [source, count] : benchmark["documents"].items())
      documents += text_of(documents.empty() ? "" : ", ", count.get<std::int64_t>(), " of ", source);
    log::info("benchmark ", name, ": ", benchmark["touched"].get<std::int64_t>(), " of ",
              benchmark["items"].get<std::int64_t>(), " items touched (",
              benchmark["question_hits"].get<std::int64_t>(), " as whole questions, ",
              benchmark["too_short"].get<std::int64_t>(), " too short to look for); documents ",
              removed ? "removed: " : "left in: ", documents);
  }
}

}  // namespace osler::app
