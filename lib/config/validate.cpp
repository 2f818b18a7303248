#include "config/validate.hpp"

#include <set>

#include "base/text_of.hpp"
#include "config/nearest.hpp"

namespace osler::config {
namespace {

template <class Item>
void refuse_equal_names(const std::vector<Item>& items, const std::string& key, const Report& report) {
  std::set<std::string> seen;
  for (const Item& item : items)
    if (!seen.insert(item.name).second)
      report(key, "the name '" + item.name + "' is used twice; results are kept by name");
}

void validate_model(const ModelOptions& model, const std::string& verb, const Report& report) {
  const bool needed = verb == "pretrain" || verb == "finetune" || verb == "plan";
  if (!model.from.empty() && !model.config.empty())
    report("model.config",
           "model.from is given as well: take weights and config from there, or start at random from model.config");
  else if (needed && model.from.empty() && model.config.empty())
    report("model.from",
           "is needed: a Hugging Face directory or checkpoint (or model.config for random initialisation)");
}

void validate_data(const DataOptions& data, const std::string& verb, const Report& report) {
  if (verb == "pretrain" && data.epochs > 0)
    report("data.epochs", "is of osler finetune; pretrain takes its steps from run.steps");
  if (verb == "finetune" && data.cross_document)
    report("data.cross_document", "must be off in osler finetune: no conversation sees another");

  refuse_equal_names(data.source, "data.source", report);
  refuse_equal_names(data.validation, "data.validation", report);
  if (data.global_batch % data.micro_batch != 0)
    report("data.global_batch", text_of(data.global_batch, " is no multiple of data.micro_batch = ", data.micro_batch,
                                        "; ", nearest_multiples(data.global_batch, data.micro_batch)));
}

void validate_optim(const OptimOptions& optim, const RunOptions* run, const std::string& verb, const Report& report) {
  const OptimOptions defaults = verb == "finetune" ? finetune_optim_defaults() : OptimOptions();
  if (optim.min_learning_rate > optim.learning_rate)
    report("optim.min_learning_rate",
           text_of(optim.min_learning_rate, " is above optim.learning_rate = ", optim.learning_rate));
  // The default may exceed a short trial's steps; a number that someone chose may not.
  if (run && run->steps > 0 && optim.warmup_steps > run->steps && optim.warmup_steps != defaults.warmup_steps)
    report("optim.warmup_steps", text_of(optim.warmup_steps, " is more than run.steps = ", run->steps));
}

void validate_router(const RouterOptions& router, const Report& report) {
  const bool from_config = router.aux_coefficient == -1;
  if (router.aux_coefficient < 0 && !from_config)
    report("router.aux_coefficient", text_of("must be -1 or >= 0, not ", router.aux_coefficient));
  if (router.aux_loss == AuxLoss::off && router.aux_coefficient > 0)
    report("router.aux_coefficient",
           text_of("is ", router.aux_coefficient, " but router.aux_loss is off: drop one of them"));
}

void validate_study(const StudyOptions& study, const Report& report) {
  const bool is_empty = study.dir.empty() && study.tokens.empty() && study.finetune.empty() && study.evaluate.empty();
  if (study.pretrain.empty() && !is_empty) report("study.pretrain", "is needed by a study");
  if (study.pretrain.empty()) return;
  if (study.dir.empty()) report("study.dir", "is needed by a study");
  if (study.tokens.empty()) report("study.tokens", "is needed by a study: where pretraining is looked at");
  for (std::size_t i = 1; i < study.tokens.size(); ++i)
    if (study.tokens[i] <= study.tokens[i - 1])
      report("study.tokens", text_of(study.tokens[i], " follows ", study.tokens[i - 1], ": they must rise"));
  for (std::size_t i = 1; i < study.neftune_alpha.size(); ++i)
    for (std::size_t k = 0; k < i; ++k)
      if (study.neftune_alpha[i] == study.neftune_alpha[k])
        report("study.neftune_alpha", text_of(study.neftune_alpha[i], " is given twice"));
  refuse_equal_names(study.evaluate, "study.evaluate", report);
}

void validate_eval(const EvalOptions& eval, const std::string& verb, const Report& report) {
  for (const auto& [key, list] : {std::pair{"eval.task", &eval.task},
                                  {"eval.train", &eval.train},
                                  {"eval.responses", &eval.responses},
                                  {"eval.contamination", &eval.contamination}})
    refuse_equal_names(*list, key, report);
  if (verb != "evaluate") return;
  if (eval.model.empty() && eval.responses.empty())
    report("eval.model", "is needed: a Hugging Face directory, a checkpoint or a run");
  const bool by_likelihood = eval.strategy == Strategy::zero_shot || eval.strategy == Strategy::few_shot;
  if (eval.answer == AnswerBy::likelihood && !by_likelihood)
    report("eval.answer", text_of("is likelihood, but ", name_of(eval.strategy), " reads generated text"));
  if (eval.answers_by_generation() && eval.scoring == Scoring::text)
    report("eval.scoring", "is text, but generated answers name a letter; use letter");
  if (eval.strategy == Strategy::zero_shot && eval.shots > 0)
    report("eval.shots", text_of("is ", eval.shots, " but eval.strategy is zero-shot; use few-shot"));
  if (eval.strategy == Strategy::few_shot && eval.shots == 0)
    report("eval.shots", "is 0 but eval.strategy is few-shot; use zero-shot");
  if (eval.num_shots() > 0 && eval.train.empty() && eval.responses.empty())
    report("eval.train", text_of("is needed: ", eval.num_shots(), " exemplars a question are taken from it"));
  if (eval.strategy == Strategy::medprompt && eval.medprompt_candidates < eval.num_shots())
    report("eval.medprompt_candidates", text_of("is less than the ", eval.num_shots(), " exemplars wanted"));
}

}  // namespace

/// The one place that says what this version does not do.
void refuse_what_comes_later(const BoundOptions& bound, const std::string&, const Report& report) {
  const auto refuse = [&](bool asked, const char* key, const std::string& instead) {
    if (asked) report(key, "not in this version; " + instead);
  };
  if (bound.checkpoint) refuse(bound.checkpoint->async, "checkpoint.async", "use off: training waits for the save");
}

void refuse_contradictions(const BoundOptions& bound, const std::string& verb, const Report& report) {
  const bool is_study = bound.study && !bound.study->pretrain.empty();
  if (bound.study) validate_study(*bound.study, report);
  if (bound.plan && bound.plan->pieces && !is_study) report("study.pretrain", "is needed: plan.pieces lists a study's");
  if (bound.model && !is_study) validate_model(*bound.model, verb, report);
  if (bound.data) validate_data(*bound.data, verb, report);
  if (verb == "finetune" && bound.run && bound.data && bound.run->steps == 0 && bound.data->epochs == 0)
    report("data.epochs", "is needed by osler finetune, or run.steps");
  if (bound.run && bound.run->steps > 0 && bound.run->stop_at_step > bound.run->steps)
    report("run.stop_at_step", text_of(bound.run->stop_at_step, " is after run.steps = ", bound.run->steps));
  if (bound.optim) validate_optim(*bound.optim, bound.run, verb, report);
  if (bound.router) validate_router(*bound.router, report);
  if (bound.eval) validate_eval(*bound.eval, verb, report);
}

}  // namespace osler::config
