#include "plan/study.hpp"

#include <iomanip>
#include <sstream>
#include <utility>

#include "base/error.hpp"

namespace osler::plan {
namespace {

class Pieces {
 public:
  Pieces(const config::StudyOptions& study, const StudyPretraining& pretraining)
      : study_(study), run_dir_(study.dir + "/pretrain") {
    std::int64_t previous = 0;
    for (const std::int64_t tokens : study.tokens) {
      const std::int64_t step = (tokens + pretraining.tokens_per_step - 1) / pretraining.tokens_per_step;
      if (step > pretraining.steps)
        throw ConfigError("study.tokens: ", tokens, " are behind the ", pretraining.steps * pretraining.tokens_per_step,
                          " (", pretraining.steps, " steps of ", pretraining.tokens_per_step, ") of ", study.pretrain);
      if (step == previous)
        throw ConfigError("study.tokens: ", tokens, " are reached in the same step ", step,
                          " as the point before; a step of ", study.pretrain, " takes ", pretraining.tokens_per_step);
      steps_.push_back(previous = step);
    }
    if (!pretraining.from.empty()) add_versions("0", pretraining.from, {});
    for (std::size_t i = 0; i < steps_.size(); ++i) add_point(i);
  }
  std::vector<StudyPiece> take() { return std::move(pieces_); }

 private:
  void add_point(std::size_t i) {
    const std::string label = token_label(study_.tokens[i]);
    std::ostringstream name;
    name << run_dir_ << "/checkpoints/step_" << std::setw(9) << std::setfill('0') << steps_[i];
    StudyPiece& piece = pieces_.emplace_back();
    piece.name = "pretrain/" + label;
    if (i > 0) piece.after = {"pretrain/" + token_label(study_.tokens[i - 1])};
    piece.verb = "pretrain";
    piece.arguments = {"--config=" + study_.pretrain, "--run.dir=" + run_dir_,
                       text_of("--run.stop_at_step=", steps_[i])};
    for (const std::int64_t step : steps_) piece.arguments.push_back(text_of("--checkpoint.keep_step=", step));
    piece.done = name.str() + "/manifest.json";
    piece.steps = steps_[i] - (i > 0 ? steps_[i - 1] : 0);
    add_versions(label, name.str(), {piece.name});
  }

  /// P^t and the models that are made from it.
  void add_versions(const std::string& label, const std::string& model, const std::vector<std::string>& after) {
    add_evaluations(label, model, after, /*is_finetuned=*/false);
    if (study_.finetune.empty()) return;
    for (const double alpha : study_.neftune_alpha) {
      const std::string version = label + "-f" + (alpha > 0 ? text_of("-n", alpha) : "");
      const std::string dir = study_.dir + "/finetune/" + version;
      StudyPiece& piece = pieces_.emplace_back();
      piece.name = "finetune/" + version;
      piece.after = after;
      piece.verb = "finetune";
      piece.arguments = {"--config=" + study_.finetune, "--model.from=" + model, text_of("--neftune.alpha=", alpha),
                         "--run.dir=" + dir};
      piece.done = dir + "/done";
      add_evaluations(version, dir, {piece.name}, /*is_finetuned=*/true);
    }
  }

  void add_evaluations(const std::string& version, const std::string& model, const std::vector<std::string>& after,
                       bool is_finetuned) {
    for (const config::NamedPath& way : study_.evaluate) {
      const std::string output = study_.dir + "/evaluate/" + version + "/" + way.name;
      StudyPiece piece{.name = "evaluate/" + version + "/" + way.name, .after = after, .verb = "evaluate"};
      if (!study_.evaluate_common.empty()) piece.arguments.push_back("--config=" + study_.evaluate_common);
      piece.arguments.push_back("--config=" + way.path);
      if (is_finetuned && !study_.evaluate_finetuned.empty())
        piece.arguments.push_back("--config=" + study_.evaluate_finetuned);
      piece.arguments.push_back("--eval.model=" + model);
      piece.arguments.push_back("--eval.output=" + output);
      piece.done = output + "/results.json";
      pieces_.push_back(std::move(piece));
    }
  }

  const config::StudyOptions& study_;
  const std::string run_dir_;
  std::vector<std::int64_t> steps_;  ///< at which pretraining is looked at
  std::vector<StudyPiece> pieces_;
};

}  // namespace

std::vector<StudyPiece> study_pieces(const config::StudyOptions& study, const StudyPretraining& pretraining) {
  OSLER_CHECK(pretraining.tokens_per_step > 0, pretraining.tokens_per_step);
  return Pieces(study, pretraining).take();
}

std::string token_label(std::int64_t tokens) {
  constexpr const char* kUnits[] = {"", "k", "M", "B", "T"};
  std::size_t unit = 0;
  for (; unit + 1 < std::size(kUnits) && tokens > 0 && tokens % 1000 == 0; tokens /= 1000) ++unit;
  return std::to_string(tokens) + kUnits[unit];
}

std::string pieces_text(const std::vector<StudyPiece>& pieces) {
  std::string text;
  for (const StudyPiece& piece : pieces) {
    std::string after;
    for (const std::string& name : piece.after) after += (after.empty() ? "" : " ") + name;
    text += piece.name + "\t" + after + "\t" + piece.done + "\t" + piece.verb;
    for (const std::string& argument : piece.arguments) text += "\t" + argument;
    text += "\n";
  }
  return text;
}

}  // namespace osler::plan
