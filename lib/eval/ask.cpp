#include "eval/ask.hpp"

#include "base/error.hpp"

namespace osler::eval {

namespace {

std::string origin_of(const Task& task, const Question& question) {
  return text_of(task.path, ":", question.line);
}

std::vector<OptionOrder> orders_of(const Question& question, const config::EvalOptions& options) {
  const bool shuffles = options.strategy == config::Strategy::medprompt && options.medprompt_shuffle;
  return shuffles ? option_orders(options.seed, question, options.samples) : std::vector<OptionOrder>{{}};
}

std::string finish_name(generate::Finish finish) {
  switch (finish) {
    case generate::Finish::eos:
      return "eos";
    case generate::Finish::stop:
      return "stop";
    case generate::Finish::length:
      return "length";
  }
  throw InternalError("unknown end of a text");
}

std::vector<ItemResult> score_group(const std::vector<Task>& tasks, const std::vector<ItemRef>& group,
                                    LanguageModel& model) {
  std::vector<LikelihoodRequest> requests;
  for (const ItemRef& ref : group) {
    const Task& task = tasks[ref.task];
    const Question& question = task.questions[ref.item];
    requests.push_back({prompt_of(task, ref.item), continuations_of(task, question), origin_of(task, question)});
  }
  std::vector<ItemResult> results(group.size());
  const auto scores = model.score(requests);
  for (std::size_t i = 0; i < group.size(); ++i) results[i].choices = scores[i];
  return results;
}

}  // namespace

Vote vote_of(const Task& task, const Question& question, const OptionOrder& order,
             const generate::Generation& generation, const LanguageModel& model) {
  Vote vote{.order = order,
            .response = generation.text,
            .finish = finish_name(generation.finish),
            .shown = {},
            .option = {},
            .log_prob = 0};
  const Extraction found = read_vote(task, question, vote);
  if (found.position) vote.log_prob = model.log_prob_of(generation, found.begin, found.end);
  return vote;
}

std::vector<std::string> prompts_of(const Task& task, const Question& question, const std::vector<Exemplar>& exemplars,
                                    const config::EvalOptions& options) {
  std::vector<std::string> prompts;
  for (const OptionOrder& order : orders_of(question, options))
    prompts.push_back(build_prompt(task, question, exemplars, order) + line_breaks_after(task));
  return prompts;
}

std::vector<ItemResult> ask_group(const std::vector<Task>& tasks, const std::vector<ItemRef>& group,
                                  const config::EvalOptions& options, const ExemplarsOf& exemplars_of,
                                  LanguageModel& model) {
  if (!options.answers_by_generation()) return score_group(tasks, group, model);
  const bool samples = options.strategy == config::Strategy::cot_sc;
  std::vector<ItemResult> results(group.size());
  std::vector<TextRequest> requests;
  std::vector<std::pair<std::size_t, OptionOrder>> owners;
  for (std::size_t i = 0; i < group.size(); ++i) {
    const Task& task = tasks[group[i].task];
    const Question& question = task.questions[group[i].item];
    const std::vector<Exemplar> exemplars = exemplars_of(group[i]);
    if (options.strategy == config::Strategy::medprompt) results[i].exemplars = exemplars;
    const std::vector<OptionOrder> orders = orders_of(question, options);
    const std::vector<std::string> prompts = prompts_of(task, question, exemplars, options);
    for (std::size_t o = 0; o < orders.size(); ++o) {
      requests.push_back({.prompt = prompts[o],
                          .max_new_tokens = options.max_new_tokens,
                          .stop = task.prompt.stops(),
                          .sampling = {samples ? options.temperature : 0, options.top_p},
                          .key = item_key(question),
                          .first_sample = 0,
                          .num_samples = samples ? options.samples : 1});
      owners.emplace_back(i, orders[o]);
    }
  }
  const auto texts = model.generate(requests);
  for (std::size_t r = 0; r < owners.size(); ++r) {
    const auto& [i, order] = owners[r];
    const Task& task = tasks[group[i].task];
    for (const generate::Generation& text : texts[r])
      results[i].votes.push_back(vote_of(task, task.questions[group[i].item], order, text, model));
  }
  return results;
}

}  // namespace osler::eval
