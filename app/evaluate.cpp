// osler evaluate: log-likelihood scores of a model on benchmark files, over all ranks.
#include <chrono>
#include <filesystem>
#include <iostream>
#include <optional>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "base/publish.hpp"
#include "checkpoint/weights.hpp"
#include "comm/torch_dtype.hpp"
#include "config/parser.hpp"
#include "eval/result_files.hpp"
#include "eval/run_tasks.hpp"
#include "model/model.hpp"
#include "plan/parameter_specs.hpp"
#include "verbs.hpp"

namespace osler::app {

namespace {

struct EvaluateSpec {
  config::EvalOptions eval;
  config::ParallelOptions parallel;
  config::RunOptions run;
};

/// What is to be scored, opened and checked, before any weight is read.
struct Subject {
  std::optional<checkpoint::Weights> weights;
  config::ModelConfig config;
  std::optional<text::Tokenizer> tokenizer;
  std::vector<eval::Task> tasks;
};

void print_once(comm::World& world, const std::string& text) {
  if (world.host().rank() == 0) std::cout << text << std::flush;
}

Subject open_subject(const EvaluateSpec& spec, comm::World& world) {
  Subject subject;
  comm::agree_after(world.host(), [&] {
    subject.tasks = eval::load_tasks(spec.eval.task, spec.eval.scoring, spec.eval.limit);
    subject.weights.emplace(spec.eval.model);
    subject.config = config::parse_model_config(subject.weights->model_config(), subject.weights->directory());
    const std::vector<std::string> files = subject.weights->tokenizer_files();
    if (files.empty())
      throw DataError(subject.weights->directory(),
                      ": no tokenizer files; put the model's tokenizer.model beside its weights");
    subject.tokenizer.emplace(std::filesystem::path(files.front()).parent_path().string());
    if (subject.tokenizer->vocab_size() > subject.config.vocab_size)
      throw DataError(subject.weights->directory(), ": the tokenizer has ", subject.tokenizer->vocab_size(),
                      " pieces, the model only ", subject.config.vocab_size, "; they do not belong together");
    if (world.host().rank() == 0) require_writable_directory(spec.eval.output);
  });
  return subject;
}

std::string summary(const Subject& subject) {
  std::string text = text_of("model  ", subject.weights->directory(), ", ",
                             subject.weights->provenance().pretraining_tokens, " tokens seen\n");
  for (const eval::Task& task : subject.tasks)
    text += text_of("task  ", task.name, ": ", task.questions.size(), " of ", task.num_in_file, " items\n");
  return text;
}

eval::RunIdentity identify(const EvaluateSpec& spec, const Subject& subject, const config::Parser& parser,
                           comm::World& world) {
  eval::RunIdentity identity;
  identity.model = spec.eval.model;
  identity.checkpoint = subject.weights->directory();
  const checkpoint::Provenance provenance = subject.weights->provenance();
  identity.tokens_seen = provenance.pretraining_tokens;
  identity.is_fine_tuned = provenance.is_fine_tuned();
  identity.neftune_alpha = provenance.neftune_alpha;
  identity.dtype = config::name_of(spec.parallel.dtype);
  identity.device = world.device().str();
  identity.tokenizer_sha256 = subject.tokenizer->sha256();
  identity.num_ranks = world.host().size();
  identity.options = spec.eval;
  identity.config = parser.resolved_ini();
  identity.config_hash = parser.config_hash();
  identity.build = version_text().substr(0, version_text().find('\n'));
  identity.date = utc_timestamp();
  identity.start_unix_s = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  return identity;
}

void score_and_write(const EvaluateSpec& spec, Subject& subject, eval::RunIdentity identity, comm::World& world) {
  const Stopwatch since_start;
  const at::TensorOptions options =
      at::TensorOptions(world.device())
          .dtype(comm::scalar_type_of(dtype_from_name(config::name_of(spec.parallel.dtype))));
  parallel::ParameterStore parameters(plan::parameter_specs(subject.config), options);
  comm::agree_after(world.host(), [&] { subject.weights->load(parallel::tensors_of(parameters, "model/")); });
  model::Model model(subject.config, parameters, config::Recompute::none);
  const eval::TaskAnswers answers =
      eval::run_tasks(subject.tasks, model, *subject.tokenizer, spec.eval.batch_tokens, world.host(), world.device());
  comm::agree_after(world.host(), [&] {
    if (world.host().rank() != 0) return;
    std::vector<eval::TaskScore> scores;
    for (std::size_t t = 0; t < subject.tasks.size(); ++t)
      scores.push_back(eval::score_task(subject.tasks[t], answers[t]));
    const std::vector<eval::TaskScore> groups = eval::score_groups(scores);
    identity.elapsed_s = since_start.elapsed_s();
    eval::write_result_files(spec.eval.output, identity, subject.tasks, scores, groups);
    log::info("evaluate: wrote ", spec.eval.output, "/results.json");
    std::cout << eval::score_table(scores, groups) << std::flush;
  });
}

}  // namespace

ExitCode evaluate(comm::World& world, const Arguments& arguments) {
  EvaluateSpec spec;
  config::Parser parser("evaluate", "Scores a model on benchmark files and writes tables.");
  parser.add(spec.eval);
  parser.add(spec.parallel);
  parser.add(spec.run);
  config::Action action{};
  comm::agree_after(world.host(), [&] { action = parser.parse(arguments); });
  if (action == config::Action::help) return print_once(world, parser.help()), ExitCode::done;
  if (action == config::Action::print_config) return print_once(world, parser.print_config()), ExitCode::done;
  world.set_threads(spec.run.threads);

  Subject subject = open_subject(spec, world);
  if (action == config::Action::dry_run) return print_once(world, summary(subject)), ExitCode::done;
  score_and_write(spec, subject, identify(spec, subject, parser, world), world);
  return ExitCode::done;
}

}  // namespace osler::app
