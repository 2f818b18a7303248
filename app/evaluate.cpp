// osler evaluate: a model's answers to benchmark files by a prompt strategy, over all ranks, or recorded responses
// graded anew; and the tables of both.
#include <chrono>
#include <filesystem>
#include <iostream>
#include <optional>

#include "base/clock.hpp"
#include "base/folder_owner.hpp"
#include "base/log.hpp"
#include "base/output_place.hpp"
#include "base/sha256.hpp"
#include "base/visibility.hpp"
#include "checkpoint/weights.hpp"
#include "comm/mesh_groups.hpp"
#include "comm/torch_dtype.hpp"
#include "config/parser.hpp"
#include "eval/contamination.hpp"
#include "eval/model_under_test.hpp"
#include "eval/responses.hpp"
#include "eval/result_files.hpp"
#include "eval/run_tasks.hpp"
#include "evaluation_key.hpp"
#include "model/model.hpp"
#include "plan/parameter_specs.hpp"
#include "train/resume.hpp"
#include "train/stop.hpp"
#include "verbs.hpp"

namespace osler::app {

namespace {

struct EvaluateSpec {
  config::EvalOptions eval;
  config::ParallelOptions parallel;
  config::RunOptions run;
  config::FilesOptions files;
};

/// What is to be scored, opened and checked, before any weight is read.
struct Subject {
  std::optional<checkpoint::Weights> weights;  ///< none for recorded responses
  config::ModelConfig config;
  std::optional<text::Tokenizer> tokenizer;
  plan::Mesh mesh;
  std::vector<eval::Task> tasks;
  std::vector<std::vector<bool>> touched;  ///< by task and item; empty where no report is given
};

void print_once(comm::World& world, const std::string& text) {
  if (world.host().rank() == 0) std::cout << text << std::flush;
}

const std::string* path_of(const std::vector<config::NamedPath>& named, const std::string& name) {
  for (const config::NamedPath& entry : named)
    if (entry.name == name) return &entry.path;
  return nullptr;
}

/// `weights`: what eval.model stands for.
void open_model(const EvaluateSpec& spec, const std::string& weights, int num_ranks, Subject& subject) {
  subject.weights.emplace(weights, checkpoint::Verify::sizes);
  subject.config = config::parse_model_config(subject.weights->model_config(), subject.weights->directory());
  config::DataOptions any;  // batches mean nothing here: none may be refused
  any.sequence_length = spec.parallel.tp;
  any.global_batch = num_ranks;
  any.micro_batch = 1;
  subject.mesh = plan::build_mesh(num_ranks, subject.config, spec.parallel, any);
  const std::vector<std::string> files = subject.weights->tokenizer_files();
  if (files.empty())
    throw DataError(subject.weights->directory(),
                    ": no tokenizer files; put the model's tokenizer.model beside its weights");
  subject.tokenizer.emplace(std::filesystem::path(files.front()).parent_path().string());
  if (subject.tokenizer->vocab_size() > subject.config.vocab_size)
    throw DataError(subject.weights->directory(), ": the tokenizer has ", subject.tokenizer->vocab_size(),
                    " pieces, the model only ", subject.config.vocab_size, "; they do not belong together");
}

Subject open_subject(const EvaluateSpec& spec, comm::World& world) {
  Subject subject;
  comm::agree_after(world.host(), [&] {
    if (world.local_rank() == 0) require_writable_place("eval.output", spec.eval.output);
    subject.tasks = eval::load_tasks(spec.eval);
    for (const eval::Task& task : subject.tasks) {
      const std::string* report = path_of(spec.eval.contamination, task.name);
      subject.touched.push_back(report != nullptr ? eval::read_touched(task, *report) : std::vector<bool>{});
      if (!spec.eval.responses.empty() && path_of(spec.eval.responses, task.name) == nullptr)
        throw ConfigError("eval.responses: no samples file for ", task.name, "; name it as ", task.name, ":PATH");
    }
  });
  if (!spec.eval.responses.empty()) return subject;
  const std::string weights = checkpoint::find_weights(world.host(), spec.eval.model, checkpoint::Verify::sums);
  comm::agree_after(world.host(), [&] { open_model(spec, weights, world.host().size(), subject); });
  return subject;
}

std::string summary(const EvaluateSpec& spec, const Subject& subject) {
  std::string text = subject.weights ? text_of("model  ", subject.weights->directory(), ", ",
                                               subject.weights->provenance().pretraining_tokens, " tokens seen\n")
                                     : std::string("model  none: recorded responses\n");
  text += text_of("strategy  ", config::name_of(spec.eval.strategy), ", ", spec.eval.num_shots(), " exemplars, by ",
                  spec.eval.answers_by_generation() ? "generation" : "likelihood", "\n");
  for (const eval::Task& task : subject.tasks) {
    text += text_of("task  ", task.name, ": ", task.questions.size(), " of ", task.num_in_file, " items");
    if (!task.train_path.empty()) text += text_of(", ", task.train.size(), " to take exemplars from");
    text += text_of("; prompt: ", task.prompt.origin(), "\n");
  }
  return text;
}

eval::RunIdentity identify(const EvaluateSpec& spec, const Subject& subject, const config::Parser& parser,
                           comm::World& world) {
  eval::RunIdentity identity;
  identity.model = spec.eval.model.empty() ? "recorded responses" : spec.eval.model;
  if (subject.weights) {
    identity.checkpoint = subject.weights->directory();
    const checkpoint::Provenance provenance = subject.weights->provenance();
    identity.tokens_seen = provenance.pretraining_tokens;
    identity.is_fine_tuned = provenance.is_fine_tuned();
    identity.neftune_alpha = provenance.neftune_alpha;
    identity.tokenizer_sha256 = subject.tokenizer->sha256();
  }
  identity.dtype = config::name_of(spec.parallel.dtype);
  identity.device = world.device().str();
  identity.num_ranks = world.host().size();
  identity.options = spec.eval;
  identity.config = parser.resolved_ini();
  identity.config_hash = parser.config_hash();
  identity.build = version_text().substr(0, version_text().find('\n'));
  identity.evaluation_key = evaluation_key(spec.eval, subject.tasks, identity);
  identity.date = utc_timestamp();
  identity.start_unix_s = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  return identity;
}

eval::TaskResults ask(const EvaluateSpec& spec, Subject& subject, const std::string& journal_folder, comm::World& world,
                      const train::StopSignals& signals) {
  const at::TensorOptions options =
      at::TensorOptions(world.device())
          .dtype(comm::scalar_type_of(dtype_from_name(config::name_of(spec.parallel.dtype))));
  const comm::MeshGroups groups(world.ranks(), subject.mesh);
  parallel::ParameterStore parameters(plan::parameter_specs_of_rank(subject.config, subject.mesh, world.host().rank()),
                                      options, plan::sharers_of(subject.mesh));
  comm::agree_after(world.host(), [&] { subject.weights->load(parallel::tensors_of(parameters, "model/")); });
  model::Model model(subject.config, parameters, config::Recompute::none, groups);
  eval::ModelUnderTest under_test(model, *subject.tokenizer,
                                  eval::make_prompt_encoder(*subject.tokenizer, spec.eval.chat_template),
                                  spec.eval.seed, spec.eval.batch_tokens, world.device());
  const auto tp = static_cast<int>(subject.mesh.tp);
  const eval::Team team{.ranks = world.host(),
                        .replica = world.host().rank() / tp,
                        .num_replicas = static_cast<int>(subject.mesh.dp),
                        .is_lead = world.host().rank() % tp == 0,
                        .wants_stop = [&] { return signals.caught(); }};
  return eval::run_tasks(subject.tasks, spec.eval, under_test, team, journal_folder);
}

eval::TaskResults read_recorded(const EvaluateSpec& spec, const Subject& subject, comm::World& world) {
  eval::TaskResults results;
  comm::agree_after(world.host(), [&] {
    for (const eval::Task& task : subject.tasks)
      results.push_back(eval::read_responses(task, *path_of(spec.eval.responses, task.name)));
  });
  return results;
}

void write(const EvaluateSpec& spec, const Subject& subject, eval::TaskResults results,
           const eval::RunIdentity& identity, const std::string& journal_folder, comm::World& world) {
  comm::agree_after(world.host(), [&] {
    if (world.host().rank() != 0) return;
    eval::Scores scores;
    for (std::size_t t = 0; t < subject.tasks.size(); ++t) {
      scores.tasks.push_back(eval::score_task(subject.tasks[t], std::move(results[t])));
      for (auto& part : eval::score_parts(subject.tasks[t], scores.tasks.back(), subject.touched[t]))
        scores.parts.push_back(std::move(part));
    }
    scores.groups = eval::score_groups(scores.tasks);
    eval::write_result_files(spec.eval.output, identity, subject.tasks, scores);
    std::error_code ignored;
    std::filesystem::remove_all(journal_folder, ignored);  // all of it stands in the results
    log::info("evaluate: wrote ", spec.eval.output, "/results.json");
    std::cout << eval::score_table(scores) << std::flush;
  });
}

/// A folder used twice by mistake would cost an evaluation: what becomes of it is said before any work.
void tell_replaced(const EvaluateSpec& spec, const eval::RunIdentity& identity, comm::World& world) {
  if (world.host().rank() != 0) return;
  const std::optional<eval::Finished> there = eval::finished_evaluation(spec.eval.output);
  if (!there || there->evaluation_key == identity.evaluation_key) return;
  std::string changes;
  for (const std::string& line : train::differences(there->config, identity.config)) changes += "\n  " + line;
  if (there->checkpoint != identity.checkpoint)
    changes += text_of("\n  model: ", there->checkpoint, " -> ", identity.checkpoint);
  log::warning("eval.output = ", spec.eval.output, ": this run replaces the finished evaluation that is there",
               changes.empty() ? " (of other files, weights or another build)" : ":", changes);
}

bool is_finished(const EvaluateSpec& spec, const eval::RunIdentity& identity, comm::World& world) {
  std::int64_t finished = 0;
  if (world.host().rank() == 0) {
    const auto there = eval::finished_evaluation(spec.eval.output);
    finished = there && there->evaluation_key == identity.evaluation_key ? 1 : 0;
  }
  return world.host().all_reduce_value(finished, comm::ReduceOp::max) > 0;
}

}  // namespace

ExitCode evaluate(comm::World& world, const Arguments& arguments) {
  EvaluateSpec spec;
  config::Parser parser("evaluate", "Asks a model the questions of benchmark files and writes tables.");
  parser.add(spec.eval);
  parser.add(spec.parallel);
  parser.add(spec.run);
  parser.add(spec.files);
  config::Action action{};
  comm::agree_after(world.host(), [&] { action = parser.parse(arguments); });
  if (action == config::Action::help) return print_once(world, parser.help()), ExitCode::done;
  if (action == config::Action::print_config) return print_once(world, parser.print_config()), ExitCode::done;
  set_file_privacy(spec.files.privacy);
  set_visible_within(spec.files.visible_within_s);
  world.set_threads(spec.run.threads);

  const train::StopSignals signals;
  const Stopwatch since_start;
  Subject subject = open_subject(spec, world);
  eval::RunIdentity identity = identify(spec, subject, parser, world);
  tell_replaced(spec, identity, world);
  if (action == config::Action::dry_run) return print_once(world, summary(spec, subject)), ExitCode::done;
  if (is_finished(spec, identity, world)) {
    log::info(spec.eval.output, " holds this evaluation already, finished; nothing to do");
    return ExitCode::done;
  }
  std::unique_ptr<FolderOwner> owner;  // of rank 0
  comm::agree_after(world.host(), [&] {
    if (world.host().rank() == 0)
      owner = std::make_unique<FolderOwner>("eval.output", spec.eval.output, spec.files.owner_silence_s);
  });
  const std::string journal = spec.eval.output + "/journal-" + identity.evaluation_key.substr(0, 16);
  try {
    eval::TaskResults results =
        subject.weights ? ask(spec, subject, journal, world, signals) : read_recorded(spec, subject, world);
    identity.elapsed_s = since_start.elapsed_s();
    write(spec, subject, std::move(results), identity, journal, world);
  } catch (const eval::StopRequested&) {
    log::info("evaluate: stopped by signal ", signals.number(), "; the same command goes on from ", journal);
    return ExitCode::requeue;
  }
  return ExitCode::done;
}

}  // namespace osler::app
