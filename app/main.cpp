// The program: finds the verb, gives it a world if it needs one, and turns errors into one message and an exit code.
#include <sys/resource.h>

#include <c10/util/Exception.h>

#include <algorithm>
#include <functional>
#include <iostream>
#include <memory>
#include <new>

#include "base/log.hpp"
#include "config/field.hpp"
#include "verbs.hpp"

namespace osler::app {
namespace {

struct Verb {
  std::string name;
  std::string summary;
  std::function<ExitCode(comm::World&, const Arguments&)> parallel;  ///< one of the two is set
  std::function<ExitCode(const Arguments&)> alone;                   ///< no MPI, no GPU
};

const std::vector<Verb>& verbs() {
  static const std::vector<Verb> list = {
      {"tokenize", "raw corpora -> token shards", tokenize, nullptr},
      {"convert", "Hugging Face model directory <-> checkpoint", convert, nullptr},
      {"pretrain", "train on a mixture of token shards", pretrain, nullptr},
      {"finetune", "learn the answers of conversations", finetune, nullptr},
      {"evaluate", "score a model on benchmarks", evaluate, nullptr},
      {"plan", "shapes, memory, time and checkpoint size of a run, without running it", nullptr, plan},
      {"inspect", "what is in a token shard, checkpoint or table; how two checkpoints differ", nullptr, inspect},
  };
  return list;
}

std::string usage() {
  std::string text = "usage: osler VERB [--config FILE ...] [--section.key=value ...]\n\nverbs\n";
  for (const auto& verb : verbs())
    text += "  " + verb.name + std::string(11 - verb.name.size(), ' ') + verb.summary + "\n";
  return text +
         "\nosler VERB --help lists the options of a verb; osler --version what it was built with.\n"
         "Every verb runs with or without mpirun or srun.\n";
}

const Verb* find_verb(const std::string& name) {
  const auto found = std::find_if(verbs().begin(), verbs().end(), [&](const Verb& verb) { return verb.name == name; });
  return found == verbs().end() ? nullptr : &*found;
}

[[noreturn]] void refuse_verb(const std::string& name) {
  std::vector<std::string> names;
  for (const auto& verb : verbs()) names.push_back(verb.name);
  const std::string nearest = config::nearest_name(name, names);
  throw ConfigError("unknown verb '", name, "'", nearest.empty() ? "" : "; did you mean '" + nearest + "'?",
                    " (osler --help lists them)");
}

struct Failure {
  ExitCode code = ExitCode::internal;
  std::string message;
  bool agreed = false;  ///< every rank holds it
};

/// The exception in flight.
Failure current_failure() {
  try {
    throw;
  } catch (const Error& error) {
    return {error.code(), error.what(), comm::is_agreed(error)};
  } catch (const c10::Error& error) {
    return {ExitCode::internal, error.what_without_backtrace(), false};
  } catch (const std::bad_alloc&) {
    return {ExitCode::internal, "out of host memory", false};
  } catch (const std::exception& error) {
    return {ExitCode::internal, error.what(), false};
  }
}

ExitCode report(const std::string& verb, const Failure& failure) {
  std::cout << std::flush;
  std::cerr << "osler" << (verb.empty() ? "" : " " + verb) << ": " << failure.message << std::endl;
  return failure.code;
}

/// An error that all ranks hold is reported by rank 0, and all leave after the last collective. One that this rank met
/// alone ends the job at once: the others may wait for it in a collective.
ExitCode run_parallel(const Verb& verb, int& argc, char**& argv, const Arguments& arguments) {
  std::unique_ptr<comm::World> world;
  try {
    world = std::make_unique<comm::World>(argc, argv);
    return verb.parallel(*world, arguments);
  } catch (...) {
    const Failure failure = current_failure();
    if (world && (failure.agreed || world->host().size() == 1)) {
      return world->host().rank() == 0 ? report(verb.name, failure) : failure.code;
    }
    std::cout << std::flush;
    log::error(verb.name, ": ", failure.message);
    comm::World::abort(static_cast<int>(failure.code));
  }
}

ExitCode run(int& argc, char**& argv) {
  const Arguments arguments(argv + 1, argv + argc);
  const std::string first = arguments.empty() ? "" : arguments.front();
  const bool speaks = comm::World::launcher_rank() == 0;  // what follows is the same on every rank, and needs no MPI
  try {
    if (first == "--help" || first == "-h" || first == "--version") {
      if (speaks) std::cout << (first == "--version" ? version_text() : usage()) << std::flush;
      return ExitCode::done;
    }
    if (arguments.empty()) throw ConfigError("no verb\n\n", usage());
    const Verb* verb = find_verb(first);
    if (verb == nullptr) refuse_verb(first);
    const Arguments rest(arguments.begin() + 1, arguments.end());
    if (verb->parallel) return run_parallel(*verb, argc, argv, rest);
    return speaks ? verb->alone(rest) : ExitCode::done;
  } catch (...) {
    // A launcher kills the others at the first code that is not 0: only the rank that speaks has one.
    return speaks ? report(find_verb(first) ? first : "", current_failure()) : ExitCode::done;
  }
}

}  // namespace
}  // namespace osler::app

int main(int argc, char** argv) {
  // Core files would hold clinical text. 1 and not 0: no file is that short, and a handler that the kernel pipes cores
  // to is not asked either (with 0 it would be).
  const rlimit no_core{1, 1};
  setrlimit(RLIMIT_CORE, &no_core);
  return static_cast<int>(osler::app::run(argc, argv));
}
