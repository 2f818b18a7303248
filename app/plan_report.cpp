#include "plan_report.hpp"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <sstream>

#include "base/clock.hpp"
#include "base/text_of.hpp"

namespace osler::app {
namespace {

constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;
constexpr std::int64_t kMostRanks = 4096;  // where the search for the smallest layout ends

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

void report_model(Report& report, const PlanSpec& spec, const plan::ParameterCount& parameters) {
  const config::ModelConfig& model = spec.input.model;
  report.section("model");
  report.line("architecture",
              text_of(model.is_mixture ? "Mixtral" : "Mistral", ", ", model.num_layers, " layers, hidden ",
                      model.hidden_size, ", ", model.num_heads, "/", model.num_kv_heads, " heads of ", model.head_dim,
                      ", ffn ", model.intermediate_size, ", vocabulary ", model.vocab_size));
  if (model.is_mixture) report.line("experts", text_of(model.num_experts, ", ", model.top_k, " for each token"));
  report.line("parameters", with_commas(parameters.total));
  report.line("active for a token", with_commas(parameters.active));
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

void report_memory(Report& report, const PlanSpec& spec, const plan::Mesh& mesh, const plan::Forecast& forecast) {
  const bool is_large = forecast.memory_bytes >= kGiB || forecast.device_bytes > 0;
  const double unit = is_large ? kGiB : kGiB / 1024;
  report.section(is_large ? "memory of a rank, GiB" : "memory of a rank, MiB");
  for (const plan::MemoryItem& item : forecast.memory)
    report.row(item.what, {fixed(item.num_bytes / unit, 2)}, item.formula);
  std::string verdict;
  if (forecast.device_bytes > 0) {
    verdict = text_of("of ", fixed(forecast.device_bytes / kGiB, 0), " on ", spec.input.cluster.gpu, ": ",
                      forecast.fits() ? "fits" : "DOES NOT FIT; raise tp, ep or recompute, or lower micro_batch");
  }
  report.row("total", {fixed(forecast.memory_bytes / unit, 2)}, verdict);
  for (const auto recompute : {config::Recompute::none, config::Recompute::selective, config::Recompute::full}) {
    plan::ForecastInput other = spec.input;
    other.parallel.recompute = recompute;
    if (recompute != spec.input.parallel.recompute)
      report.row("", {fixed(plan::total_bytes(plan::memory_of_rank(other, mesh)) / unit, 2)},
                 text_of("with parallel.recompute = ", name_of(recompute)));
  }
  if (forecast.largest_imbalance > 0)
    report.line("router", text_of("imbalance ", fixed(spec.input.imbalance, 2), " planned; fits up to ",
                                  fixed(forecast.largest_imbalance, 2), " times the mean rows on one ep rank"));
}

void report_traffic(Report& report, const plan::Forecast& forecast) {
  report.section("traffic that one rank sends in a step");
  if (forecast.traffic.empty()) report.line("none", "one rank");
  for (const plan::Axis axis : {plan::Axis::tp, plan::Axis::ep, plan::Axis::dp, plan::Axis::edp}) {
    const double bytes = plan::traffic_bytes(forecast.traffic, axis);
    if (bytes > 0) report.line(std::string(name_of(axis)), bytes_text(bytes));
    for (const plan::TrafficItem& item : forecast.traffic)
      if (item.axis == axis)
        report.line(
            "  " + item.what, bytes_text(item.num_bytes),
            text_of(name_of(item.moved), ", ", item.calls == 1 ? "once" : counted(item.calls) + " collectives"));
  }
}

void report_work(Report& report, const PlanSpec& spec, const plan::Forecast& forecast) {
  const config::RunOptions& run = spec.input.run;
  const config::DataOptions& data = spec.input.data;
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
  report.line("save", duration_text(forecast.save_s),
              text_of("training waits; ", fixed(spec.input.cluster.storage_gbytes_per_s, 1),
                      " GB/s to the file system, SHA-256 on every rank"));
  report.line("disk for checkpoints", bytes_text(held), text_of(spec.checkpoint.keep, " kept and one being written"));
}

void report_time(Report& report, const PlanSpec& spec, const plan::Mesh& mesh, const plan::Forecast& forecast) {
  report.section("time by a roofline (docs/benchmarks/forecast.md)");
  std::ostringstream flops;
  flops << std::scientific << std::setprecision(2) << forecast.flops_per_token;
  report.line("FLOPs per token", flops.str(), "forward and backward, recomputation not counted");
  const plan::StepTime& step = forecast.step;
  if (step.total_s() == 0) {
    report.line("step", "?", "the peak of '" + spec.input.cluster.gpu + "' is not known");
    return;
  }
  const auto part = [&](const char* what, double seconds, const std::string& remark) {
    if (seconds > 0) report.line(what, fixed(seconds, 3) + " s", remark);
  };
  part("  GEMMs", step.gemm_s, "the slower of matrix rate and memory, by size");
  part("  attention", step.attention_s, "fused, causal");
  part("  element-wise", step.elementwise_s, "norms, rotation, SwiGLU, sums, loss: at the memory's rate");
  part("  between kernels", step.between_kernels_s, "set once for each kind of device");
  part("  optimizer", step.optimizer_s, "its share of masters and moments");
  part("  tp", step.tensor_s, "not hidden");
  part("  ep", step.expert_s, "not hidden");
  part("  gradients", step.gradients_s, "what the last backward pass does not hide");
  part("  weights", step.weights_s, "gathered after the update, not hidden");
  report.line("step", fixed(step.total_s(), 3) + " s",
              text_of(fixed(100 * forecast.flop_utilisation, 1), " % of the peak in model FLOPs"));
  const double tokens_per_second = static_cast<double>(forecast.tokens_per_step) / step.total_s();
  report.line("tokens per second", counted(tokens_per_second),
              counted(tokens_per_second / static_cast<double>(mesh.world)) + " a rank");
  const auto steps = static_cast<double>(spec.input.run.steps);
  const double saves = std::floor(steps / static_cast<double>(spec.checkpoint.interval_steps));
  const double run_s = step.total_s() * steps + forecast.save_s * saves;
  report.line("run", duration_text(run_s),
              text_of(counted(run_s / 3600 * static_cast<double>(mesh.world)), " device hours, ", counted(saves),
                      " saves among them"));
}

void report_candidates(Report& report, const plan::ForecastInput& input, const std::vector<plan::Candidate>& candidates,
                       std::size_t most) {
  report.row("", {"tp", "ep", "dp", "micro-batch", "recompute", "GiB a rank", "step, s", "tokens/s a rank"}, "");
  for (std::size_t i = 0; i < std::min(most, candidates.size()); ++i) {
    const plan::Candidate& found = candidates[i];
    const auto number = [](std::int64_t value) { return std::to_string(value); };
    report.row(text_of(found.mesh.world, " x ", input.cluster.gpu),
               {number(found.mesh.tp), number(found.mesh.ep), number(found.mesh.dp), number(found.micro_batch),
                std::string(name_of(found.recompute)), fixed(found.memory_bytes / kGiB, 1), fixed(found.step_s, 3),
                fixed(found.tokens_per_s / static_cast<double>(found.mesh.world), 0)},
               "");
  }
}

void report_smallest(Report& report, const PlanSpec& spec) {
  constexpr std::size_t kShown = 3;
  report.section("smallest layouts that fit");
  if (!plan::can_search(spec.input)) {
    report.line("?", "the memory of '" + spec.input.cluster.gpu + "' is not known");
    return;
  }
  const auto smallest = plan::smallest_layouts(spec.input, kMostRanks);
  if (smallest.empty())
    report.line("none", text_of("up to ", kMostRanks, " ranks that divide data.global_batch"));
  else
    report_candidates(report, spec.input, smallest, kShown);
}

}  // namespace

std::string plan_report(const PlanSpec& spec, const plan::Mesh& mesh, const plan::Forecast& forecast) {
  Report report;
  report_model(report, spec, forecast.parameters);
  report_layout(report, spec, mesh, forecast);
  report_memory(report, spec, mesh, forecast);
  report_traffic(report, forecast);
  report_work(report, spec, forecast);
  report_time(report, spec, mesh, forecast);
  report_smallest(report, spec);
  return report.text();
}

std::string search_report(const PlanSpec& spec) {
  constexpr std::size_t kShown = 12;
  Report report;
  report_model(report, spec, plan::count_parameters(spec.input.model));
  const auto candidates = plan::search_layouts(spec.input, spec.plan.world_size);
  report.section(text_of("layouts of ", spec.plan.world_size, " ranks that fit, fastest first: ",
                         std::min(kShown, candidates.size()), " of ", candidates.size()));
  if (candidates.empty())
    report.line("none", "raise plan.world_size, or choose a data.global_batch that more layouts divide");
  else
    report_candidates(report, spec.input, candidates, kShown);
  report_smallest(report, spec);
  return report.text();
}

}  // namespace osler::app
