#include "eval/result_files.hpp"

#include <algorithm>
#include <filesystem>
#include <iomanip>
#include <sstream>

#include "base/publish.hpp"
#include "base/sha256.hpp"
#include "eval/json_record.hpp"
#include "eval/prompt.hpp"
#include "eval/result_sums.hpp"
#include "eval/samples_file.hpp"
#include "eval/scores_table.hpp"
#include "eval/task_groups.hpp"

namespace osler::eval {

namespace {

Json metrics_json(const TaskScore& score) {
  Json json = {{"name", score.name}, {"alias", score.name}, {"sample_len", score.metrics.front().estimate.n}};
  for (const MetricScore& metric : score.metrics) {
    json[metric.metric + ",none"] = metric.estimate.value;
    json[metric.metric + "_stderr,none"] = metric.estimate.std_error ? Json(*metric.estimate.std_error) : Json("N/A");
  }
  return json;
}

Json config_json(const Task& task, const config::EvalOptions& options) {
  Json metric_list = Json::array();
  for (const std::string& metric : task.metrics)
    metric_list.push_back({{"metric", metric}, {"aggregation", "mean"}, {"higher_is_better", true}});
  return {{"task", task.name},
          {"dataset_path", task.path},
          {"output_type", options.answers_by_generation() ? "generate_until" : "multiple_choice"},
          {"prompt", task.prompt.origin()},
          {"target_delimiter", " "},
          {"num_fewshot", options.num_shots()},
          {"metric_list", std::move(metric_list)},
          {"metadata",
           {{"version", task.version},
            {"scoring", config::name_of(task.scoring)},
            {"file_sha256", task.file_sha256},
            {"train_path", task.train_path},
            {"train_sha256", task.train_sha256},
            {"train_left_out", task.num_train_left_out}}}};
}

std::string hash_of_samples(const Task& task, const TaskScore& score, const config::EvalOptions& options) {
  std::string all;
  for (std::size_t i = 0; i < task.questions.size(); ++i) {
    const SampleHashes hashes = hash_sample(task, i, score.items[i], options);
    all += hashes.doc + hashes.prompt + hashes.target;
  }
  return sha256_hex(all);
}

/// "runs/base" -> "runs__base", as lm-eval names its folders.
std::string sanitized(const std::string& model) {
  std::string name;
  for (const char c : model) {
    if (c == '/' || c == '\\' || c == ' ')
      name += "__";
    else
      name += c;
  }
  return name;
}

Json run_json(const RunIdentity& identity) {
  const config::EvalOptions& options = identity.options;
  return {{"model", "osler"},
          {"model_args", {{"pretrained", identity.model}, {"dtype", identity.dtype}}},
          {"batch_size", options.batch_tokens},
          {"batch_sizes", Json::array()},
          {"device", identity.device},
          {"use_cache", nullptr},
          {"limit", options.limit > 0 ? Json(options.limit) : Json(nullptr)},
          {"bootstrap_iters", 0},
          {"gen_kwargs", nullptr},
          {"random_seed", options.seed},
          {"numpy_seed", options.seed},
          {"torch_seed", options.seed},
          {"fewshot_seed", options.seed},
          {"model_dtype", identity.dtype},
          {"model_num_ranks", identity.num_ranks}};
}

Json osler_json(const RunIdentity& identity) {
  return {{"schema_version", kScoresSchemaVersion},
          {"build", identity.build},
          {"started", identity.date},
          {"checkpoint", identity.checkpoint},
          {"tokens_seen", identity.tokens_seen},
          {"fine_tuned", identity.is_fine_tuned},
          {"neftune_alpha", identity.neftune_alpha},
          {"tokenizer_sha256", identity.tokenizer_sha256},
          {"strategy", config::name_of(identity.options.strategy)},
          {"answer", identity.options.answers_by_generation() ? "generation" : "likelihood"},
          {"interval", "95 % Wilson score interval"},
          {"config_hash", identity.config_hash},
          {"evaluation_key", identity.evaluation_key},
          {"config", identity.config}};
}

std::string fixed(double value, int digits) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(digits) << value;
  return out.str();
}

}  // namespace

std::string results_text(const RunIdentity& identity, const std::vector<Task>& tasks, const Scores& scores,
                         const std::map<std::string, std::string>& sums) {
  Json results = Json::object();
  Json group_results = Json::object();
  Json subtasks = Json::object();
  Json configs = Json::object();
  Json versions = Json::object();
  Json shots = Json::object();
  Json higher = Json::object();
  Json counts = Json::object();
  Json hashes = Json::object();
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    const Task& task = tasks[t];
    results[task.name] = metrics_json(scores.tasks[t]);
    configs[task.name] = config_json(task, identity.options);
    versions[task.name] = task.version;
    shots[task.name] = identity.options.num_shots();
    for (const std::string& metric : task.metrics) higher[task.name][metric] = true;
    counts[task.name] = {{"original", task.num_in_file}, {"effective", task.questions.size()}};
    hashes[task.name] = hash_of_samples(task, scores.tasks[t], identity.options);
  }
  for (const TaskScore& group : scores.groups) {
    results[group.name] = group_results[group.name] = metrics_json(group);
    subtasks[group.name] = group.members;
    versions[group.name] = "N/A";
    shots[group.name] = identity.options.num_shots();
    higher[group.name] = {{"acc", true}};
  }
  Json json = {{"results", std::move(results)}};
  if (!group_results.empty()) json["groups"] = std::move(group_results);
  json["group_subtasks"] = std::move(subtasks);
  json["configs"] = std::move(configs);
  json["versions"] = std::move(versions);
  json["n-shot"] = std::move(shots);
  json["higher_is_better"] = std::move(higher);
  json["n-samples"] = std::move(counts);
  json["config"] = run_json(identity);
  json["git_hash"] = identity.build;
  json["date"] = identity.start_unix_s;
  json["task_hashes"] = std::move(hashes);
  json["model_source"] = "osler";
  json["model_name"] = identity.model;
  json["model_name_sanitized"] = sanitized(identity.model);
  for (const char* key :
       {"system_instruction", "system_instruction_sha", "fewshot_as_multiturn", "chat_template", "chat_template_sha"})
    json[key] = nullptr;
  json["total_evaluation_time_seconds"] = fixed(identity.elapsed_s, 3);
  json["osler"] = osler_json(identity);
  return with_sums(std::move(json), sums);
}

void write_result_files(const std::string& folder, const RunIdentity& identity, const std::vector<Task>& tasks,
                        const Scores& scores) {
  make_directories(folder);
  const std::string results_path = folder + "/results.json";
  // An older evaluation in the folder stops being complete before its first file is replaced.
  std::error_code error;
  std::filesystem::remove(results_path, error);
  if (error) throw StorageError("cannot replace ", results_path, ": ", error.message());
  std::map<std::string, std::string> sums;
  const auto publish = [&](const std::string& name, const std::string& text, mode_t mode) {
    publish_file(folder + "/" + name, text, mode);
    sums[name] = sha256_hex(text);
  };
  for (std::size_t t = 0; t < tasks.size(); ++t)
    publish("samples_" + tasks[t].name + ".jsonl", samples_text(tasks[t], scores.tasks[t], identity.options),
            text_file_mode());
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("samples_") && name.ends_with(".jsonl") && !sums.contains(name))
      std::filesystem::remove(entry.path(), error);
  }
  const std::vector<ScoresColumn> columns = scores_columns(identity, scores);
  publish("scores.csv", scores_csv(columns), kFileMode);
  publish("scores.h5", scores_hdf5(columns), kFileMode);
  publish_file(results_path, results_text(identity, tasks, scores, sums));
}

std::optional<Finished> finished_evaluation(const std::string& folder) {
  const std::string path = folder + "/results.json";
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) return std::nullopt;
  const Json results = Json::parse(read_file(path), nullptr, false);
  if (!results.is_object() || !results.contains("osler") || !results["osler"].is_object()) return std::nullopt;
  const auto text = [&](const char* key) {
    const auto found = results["osler"].find(key);
    return found != results["osler"].end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  return Finished{text("evaluation_key"), text("config"), text("checkpoint")};
}

std::string score_table(const Scores& scores) {
  std::vector<std::vector<std::string>> rows = {
      {"task", "metric", "value", "stderr", "95 % interval", "n", "unparsed"}};
  for (const auto* list : {&scores.tasks, &scores.parts, &scores.groups}) {
    for (const TaskScore& score : *list) {
      for (const MetricScore& metric : score.metrics) {
        const Estimate& e = metric.estimate;
        rows.push_back({score.subset == "all" ? score.name : score.name + " " + score.subset, metric.metric,
                        fixed(e.value, 4), e.std_error ? fixed(*e.std_error, 4) : "n/a",
                        fixed(e.low, 4) + " - " + fixed(e.high, 4), std::to_string(e.n),
                        std::to_string(score.num_unparsed)});
      }
    }
  }
  std::vector<std::size_t> widths(rows.front().size(), 0);
  for (const auto& row : rows)
    for (std::size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
  std::ostringstream out;
  for (const auto& row : rows) {
    for (std::size_t c = 0; c < row.size(); ++c)
      out << (c < 2 ? std::left : std::right) << std::setw(static_cast<int>(widths[c])) << row[c]
          << (c + 1 < row.size() ? "  " : "\n");
  }
  return out.str();
}

}  // namespace osler::eval
