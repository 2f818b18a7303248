// osler plan: what a configuration needs on a given number of ranks, from its config.json alone; nothing is run.
#include "plan/forecast.hpp"

#include <algorithm>
#include <filesystem>
#include <iomanip>
#include <iostream>
#include <sstream>

#include "base/clock.hpp"
#include "base/publish.hpp"
#include "checkpoint/weights.hpp"
#include "config/parser.hpp"
#include "plan/mesh.hpp"
#include "verbs.hpp"

namespace osler::app {
namespace {

constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;

struct PlanSpec {
  plan::ForecastInput input;
  config::PlanOptions plan;
  config::ModelOptions model;
  config::OptimOptions optim;
  config::RouterOptions router;
  config::CheckpointOptions checkpoint;
};

std::string fixed(double value, int digits) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(digits) << value;
  return out.str();
}

std::string with_commas(std::int64_t value) {
  std::string text = std::to_string(value);
  for (int at = static_cast<int>(text.size()) - 3; at > (value < 0 ? 1 : 0); at -= 3)
    text.insert(static_cast<std::size_t>(at), 1, ',');
  return text;
}

/// "65.0 B", "2.1 M": counts as people say them.
std::string counted(double value) {
  for (const auto& [unit, scale] : {std::pair{" T", 1e12}, {" B", 1e9}, {" M", 1e6}, {" k", 1e3}})
    if (value >= scale) return fixed(value / scale, value / scale < 10 ? 2 : 1) + unit;
  return fixed(value, 0);
}

std::string bytes_text(double value) {
  for (const auto& [unit, scale] : {std::pair{" TB", 1e12}, {" GB", 1e9}, {" MB", 1e6}, {" kB", 1e3}})
    if (value >= scale) return fixed(value / scale, 1) + unit;
  return fixed(value, 0) + " B";
}

class Report {
 public:
  void section(const std::string& name) { text_ += (text_.empty() ? "" : "\n") + name + "\n"; }
  void line(const std::string& what, const std::string& value, const std::string& remark = "") {
    text_ += "  " + padded(what, 22) + (remark.empty() ? value : padded(value, 18) + "  " + remark) + "\n";
  }
  void row(const std::string& what, const std::vector<std::string>& numbers, const std::string& remark) {
    text_ += "  " + padded(what, 22);
    for (const std::string& number : numbers)
      text_.append(number.size() < 16 ? 16 - number.size() : 1, ' ').append(number);
    text_ += remark.empty() ? "\n" : "  " + remark + "\n";
  }
  const std::string& text() const { return text_; }

 private:
  static std::string padded(std::string text, std::size_t width) {
    text.resize(std::max(width, text.size() + 1), ' ');
    return text;
  }
  std::string text_;
};

void report_model(Report& report, const PlanSpec& spec, const plan::Forecast& forecast) {
  const config::ModelConfig& model = spec.input.model;
  report.section("model");
  report.line("architecture",
              text_of(model.is_mixture ? "Mixtral" : "Mistral", ", ", model.num_layers, " layers, hidden ",
                      model.hidden_size, ", ", model.num_heads, "/", model.num_kv_heads, " heads of ", model.head_dim,
                      ", ffn ", model.intermediate_size, ", vocabulary ", model.vocab_size));
  if (model.is_mixture) report.line("experts", text_of(model.num_experts, ", ", model.top_k, " for each token"));
  report.line("parameters", with_commas(forecast.parameters.total));
  report.line("active for a token", with_commas(forecast.parameters.active));
  report.line("starts from", spec.model.from.empty() ? "random weights (" + spec.model.config + ")" : spec.model.from);
}

void report_layout(Report& report, const PlanSpec& spec, const plan::Mesh& mesh, const plan::Forecast& forecast) {
  const auto& cluster = spec.input.cluster;
  report.section("layout");
  report.line("ranks", text_of(mesh.world, " (", cluster.gpu, ", ", cluster.gpus_per_node, " a node)"));
  report.line("dp x tp", text_of(mesh.dp, " x ", mesh.tp));
  if (spec.input.model.is_mixture) report.line("edp x ep", text_of(mesh.edp, " x ", mesh.ep), "experts");
  report.line("micro-batches", text_of(mesh.accumulation_steps, " of ", spec.input.data.micro_batch),
              "a step and rank");
  if (mesh.tp > 1 || mesh.ep > 1)
    report.line("note", "this version trains with tp = 1 and ep = 1 only: osler pretrain refuses this layout");
  report.section("shards");
  report.row("", {"parameters", "on a rank", "optimizer"}, "");
  for (const plan::ShardRow& row : forecast.shards) {
    const char* cut = row.cut == plan::Cut::experts  ? "cut over ep"
                      : row.cut == plan::Cut::tensor ? "cut over tp"
                                                     : "whole";
    report.row(row.what,
               {with_commas(row.parameters), with_commas(row.rank_parameters), with_commas(row.rank_optimizer)}, cut);
  }
}

void report_memory(Report& report, const PlanSpec& spec, const plan::Forecast& forecast) {
  const bool is_large = forecast.memory_bytes >= kGiB || forecast.device_bytes > 0;
  const double unit = is_large ? kGiB : kGiB / 1024;
  report.section(is_large ? "memory of a rank, GiB" : "memory of a rank, MiB");
  for (const plan::MemoryItem& item : forecast.memory)
    report.row(item.what, {fixed(item.num_bytes / unit, 2)}, item.formula);
  std::string verdict;
  if (forecast.device_bytes > 0) {
    verdict = text_of("of ", fixed(forecast.device_bytes / kGiB, 0), " on ", spec.input.cluster.gpu, ": ",
                      forecast.memory_bytes <= forecast.device_bytes
                          ? "fits"
                          : "DOES NOT FIT; raise tp, ep or recompute, or lower micro_batch");
  }
  report.row("total", {fixed(forecast.memory_bytes / unit, 2)}, verdict);
}

void report_work(Report& report, const PlanSpec& spec, const plan::Forecast& forecast) {
  const auto& [model, run, data, parallel, cluster] = spec.input;
  report.section("work");
  report.line("tokens per step", with_commas(forecast.tokens_per_step),
              text_of(data.global_batch, " sequences of ", data.sequence_length));
  report.line("steps", with_commas(run.steps));
  report.line("tokens in the run", counted(static_cast<double>(forecast.run_tokens)));
  double weights = 0;
  for (const auto& source : data.source) weights += source.weight;
  for (const auto& source : data.source)
    report.line("  " + source.name, counted(static_cast<double>(forecast.run_tokens) * source.weight / weights),
                fixed(100 * source.weight / weights, 1) + " %");
  const auto checkpoint = static_cast<double>(forecast.checkpoint_bytes);
  const double held =
      checkpoint * static_cast<double>(spec.checkpoint.keep + 1);  // the next one is whole before an old one goes
  report.line("checkpoint", bytes_text(checkpoint), text_of("every ", spec.checkpoint.interval_steps, " steps"));
  report.line("disk for checkpoints", bytes_text(held), text_of(spec.checkpoint.keep, " kept and one being written"));
}

void report_time(Report& report, const PlanSpec& spec, const plan::Mesh& mesh, const plan::Forecast& forecast) {
  report.section("time, a first estimate");
  std::ostringstream flops;
  flops << std::scientific << std::setprecision(2) << forecast.flops_per_token;
  report.line("FLOPs per token", flops.str(), "forward and backward, recomputation not counted");
  if (forecast.compute_s == 0) {
    report.line("step", "?", "the peak of '" + spec.input.cluster.gpu + "' is not known");
    return;
  }
  report.line("compute of a step", fixed(forecast.compute_s, 2) + " s",
              text_of("at ", fixed(100 * forecast.efficiency, 0), " % of the peak (", forecast.efficiency_source, ")"));
  report.line("communication", fixed(forecast.communication_s, 2) + " s",
              "gradients and weights between nodes, nothing overlapped");
  const double tokens_per_second = static_cast<double>(forecast.tokens_per_step) / forecast.step_s();
  report.line("tokens per second", counted(tokens_per_second),
              counted(tokens_per_second / static_cast<double>(mesh.world)) + " a rank");
  const double run_s = forecast.step_s() * static_cast<double>(spec.input.run.steps);
  report.line("run", duration_text(run_s), counted(run_s / 3600 * static_cast<double>(mesh.world)) + " device hours");
}

config::ModelConfig read_config_file(const std::string& path) {
  constexpr std::uint64_t kMostConfigBytes = 1 << 20;
  return config::parse_model_config(read_file(path, kMostConfigBytes), path);
}

config::ModelConfig read_model(const config::ModelOptions& model, const config::PlanOptions& plan) {
  if (model.from.empty()) return read_config_file(model.config);
  std::error_code error;
  const std::string beside = model.from + "/config.json";  // enough for a plan, even without the weights
  if (std::filesystem::exists(beside, error)) return read_config_file(beside);
  if (!std::filesystem::exists(model.from, error) && !plan.model_config.empty())
    return read_config_file(plan.model_config);
  const checkpoint::Weights weights(model.from, checkpoint::Verify::sizes);
  return config::parse_model_config(weights.model_config(), weights.directory());
}

}  // namespace

ExitCode plan(const Arguments& arguments) {
  PlanSpec spec;
  config::Parser parser("plan", "Shapes, memory, time and checkpoint size of a training run, without running it.");
  parser.add(spec.plan);
  parser.add(spec.input.run);
  parser.add(spec.model);
  parser.add(spec.input.data);
  parser.add(spec.input.parallel);
  parser.add(spec.optim);
  parser.add(spec.router);
  parser.add(spec.checkpoint);
  parser.add(spec.input.cluster);
  const config::Action action = parser.parse(arguments);
  if (action == config::Action::help || action == config::Action::print_config) {
    std::cout << (action == config::Action::help ? parser.help() : parser.print_config());
    return ExitCode::done;
  }
  spec.input.model = read_model(spec.model, spec.plan);
  const plan::Mesh mesh =
      plan::build_mesh(spec.plan.world_size, spec.input.model, spec.input.parallel, spec.input.data);
  const plan::Forecast forecast = plan::compute_forecast(spec.input, mesh);
  Report report;
  report_model(report, spec, forecast);
  report_layout(report, spec, mesh, forecast);
  report_memory(report, spec, forecast);
  report_work(report, spec, forecast);
  report_time(report, spec, mesh, forecast);
  std::cout << report.text();
  return ExitCode::done;
}

}  // namespace osler::app
