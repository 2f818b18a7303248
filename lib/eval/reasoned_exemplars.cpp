#include "eval/reasoned_exemplars.hpp"

#include <algorithm>
#include <cstring>
#include <set>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/random.hpp"
#include "eval/neighbors.hpp"

namespace osler::eval {

namespace {

/// The texts' vectors, each group of texts embedded by one copy of the model.
Vectors embed_all(const std::vector<std::string>& texts, std::size_t group_items, LanguageModel& model,
                  const Team& team) {
  const std::size_t num_groups = (texts.size() + group_items - 1) / group_items;
  const auto pieces = run_pieces(team, std::vector<bool>(num_groups), "embedding, groups", [&](auto piece) {
    std::vector<std::string> group;
    if (piece)
      for (std::size_t i = *piece * group_items; i < std::min(texts.size(), (*piece + 1) * group_items); ++i)
        group.push_back(texts[i]);
    std::string bytes;
    for (const auto& vector : model.embed(group))
      bytes.append(reinterpret_cast<const char*>(vector.data()), vector.size() * sizeof(float));
    return bytes;
  });
  Vectors vectors;
  for (std::size_t p = 0; p < pieces.size(); ++p) {
    const std::size_t count = std::min(texts.size() - p * group_items, group_items);
    OSLER_CHECK(pieces[p].size() % (count * sizeof(float)) == 0);
    const std::size_t size = pieces[p].size() / (count * sizeof(float));
    for (std::size_t i = 0; i < count; ++i) {
      std::vector<float> vector(size);
      std::memcpy(vector.data(), pieces[p].data() + i * size * sizeof(float), size * sizeof(float));
      vectors.push_back(std::move(vector));
    }
  }
  return vectors;
}

Vectors vectors_of(const std::vector<Question>& questions, const config::EvalOptions& options, LanguageModel& model,
                   const Team& team) {
  if (options.embeddings.empty()) {
    std::vector<std::string> texts;
    for (const Question& question : questions) texts.push_back(question.text);
    return embed_all(texts, static_cast<std::size_t>(options.group_items), model, team);
  }
  std::vector<const Question*> wanted;
  for (const Question& question : questions) wanted.push_back(&question);
  Vectors vectors;
  comm::agree_after(team.ranks, [&] { vectors = read_vectors(options.embeddings, wanted); });
  return vectors;
}

/// nearest(), a group of items per copy of the model: of the largest training splits it is minutes of work.
std::vector<std::vector<std::size_t>> nearest_over_ranks(const Vectors& items, const Vectors& train, std::size_t count,
                                                         std::size_t group_items, const Team& team) {
  const std::size_t num_groups = (items.size() + group_items - 1) / group_items;
  const auto pieces = run_pieces(team, std::vector<bool>(num_groups), "neighbours, groups", [&](auto piece) {
    if (!piece) return std::string();
    const auto begin = items.begin() + static_cast<std::ptrdiff_t>(*piece * group_items);
    const auto end = items.begin() + static_cast<std::ptrdiff_t>(std::min(items.size(), (*piece + 1) * group_items));
    return Json(nearest({begin, end}, train, count)).dump();
  });
  std::vector<std::vector<std::size_t>> found;
  for (const std::string& piece : pieces)
    for (auto& of_item : Json::parse(piece).get<std::vector<std::vector<std::size_t>>>())
      found.push_back(std::move(of_item));
  return found;
}

TextRequest request_of(const Task& task, const Question& question, const config::EvalOptions& options) {
  return {.prompt = build_prompt(task, question, {}) + line_breaks_after(task),
          .max_new_tokens = options.max_new_tokens,
          .stop = task.prompt.stops(),
          .sampling = {},
          .key = item_key(question),
          .first_sample = 0,
          .num_samples = 1};
}

/// The reasoning of a text that reached the gold answer, else nothing.
std::optional<std::string> kept_reasoning(const Task& task, const Question& question,
                                          const generate::Generation& text) {
  Vote vote{.order = {}, .response = text.text, .finish = {}, .shown = {}, .option = {}, .log_prob = 0};
  const Extraction found = read_vote(task, question, vote);
  if (vote.option != question.gold) return std::nullopt;
  const std::string rationale = reasoning_before(vote.response, found);
  return rationale.empty() ? std::nullopt : std::optional(rationale);  // a bare answer shows no reasoning
}

/// The unresolved candidates that an item needs if all of them are kept.
void add_needed(const std::vector<std::size_t>& candidates, std::size_t task, std::size_t num_shots,
                const Reasonings& known, std::set<TrainRef>& needed) {
  std::size_t num_taken = 0;
  for (std::size_t c = 0; c < candidates.size() && num_taken < num_shots; ++c) {
    const auto found = known.find({task, candidates[c]});
    if (found == known.end()) needed.insert({task, candidates[c]});
    if (found == known.end() || found->second.is_kept) ++num_taken;
  }
}

/// Resolves the questions of one round. Groups are cut from the whole round, so that they are the same after a restart;
/// one that is known in full is not made again.
void run_round(const std::vector<Task>& tasks, const std::vector<TrainRef>& round, const config::EvalOptions& options,
               LanguageModel& model, const Team& team, Journal& journal, const Reasonings& before,
               Reasonings& resolved) {
  const auto group_items = static_cast<std::size_t>(options.group_items);
  const auto group_of = [&](std::size_t piece) {
    return std::vector<TrainRef>(
        round.begin() + static_cast<std::ptrdiff_t>(piece * group_items),
        round.begin() + static_cast<std::ptrdiff_t>(std::min(round.size(), (piece + 1) * group_items)));
  };
  std::vector<bool> is_done((round.size() + group_items - 1) / group_items);
  for (std::size_t p = 0; p < is_done.size(); ++p) {
    const std::vector<TrainRef> group = group_of(p);
    is_done[p] = std::all_of(group.begin(), group.end(), [&](const TrainRef& ref) { return before.contains(ref); });
    if (is_done[p])
      for (const TrainRef& ref : group) resolved[ref] = before.at(ref);
  }
  const auto pieces = run_pieces(team, is_done, "exemplars, groups", [&](auto piece) {
    const std::vector<TrainRef> group = piece ? group_of(*piece) : std::vector<TrainRef>{};
    const std::vector<Reasoning> reasonings = reason(tasks, group, options, model);
    std::vector<Json> records;
    for (std::size_t i = 0; i < group.size(); ++i) records.push_back(json_of(tasks, group[i], reasonings[i]));
    journal.append(records);
    return Json(records).dump();
  });
  for (std::size_t p = 0; p < pieces.size(); ++p) {
    if (is_done[p]) continue;
    const std::vector<TrainRef> group = group_of(p);
    const Json records = Json::parse(pieces[p]);
    for (std::size_t i = 0; i < group.size(); ++i) {
      const Json& record = records.at(i);
      resolved[group[i]] = {record.at("kept").get<bool>(), record.at("rationale").get<std::string>(),
                            record.at("tries").get<std::int64_t>()};
    }
  }
}

}  // namespace

Json json_of(const std::vector<Task>& tasks, const TrainRef& ref, const Reasoning& reasoning) {
  return {{"kind", "exemplar"},        {"task", tasks[ref.first].name},    {"index", ref.second},
          {"kept", reasoning.is_kept}, {"rationale", reasoning.rationale}, {"tries", reasoning.num_tries}};
}

std::vector<std::vector<std::vector<std::size_t>>> rank_candidates(const std::vector<Task>& tasks,
                                                                   const config::EvalOptions& options,
                                                                   LanguageModel& model, const Team& team) {
  const auto count =
      static_cast<std::size_t>(options.medprompt_cot ? options.medprompt_candidates : options.num_shots());
  std::vector<std::vector<std::vector<std::size_t>>> candidates;
  for (const Task& task : tasks) {
    if (options.num_shots() == 0) {
      candidates.emplace_back(task.questions.size());
    } else if (options.medprompt_knn) {
      const Vectors train = vectors_of(task.train, options, model, team);
      const Vectors items = vectors_of(task.questions, options, model, team);
      candidates.push_back(
          nearest_over_ranks(items, train, count, static_cast<std::size_t>(options.group_items), team));
    } else {
      candidates.emplace_back();
      for (const Question& question : task.questions)
        candidates.back().push_back(random_candidates(options.seed, question, task.train.size(), count));
    }
  }
  return candidates;
}

std::vector<Reasoning> reason(const std::vector<Task>& tasks, const std::vector<TrainRef>& questions,
                              const config::EvalOptions& options, LanguageModel& model) {
  const auto question_of = [&](std::size_t i) -> const Question& {
    return tasks[questions[i].first].train[questions[i].second];
  };
  std::vector<TextRequest> requests;
  for (std::size_t i = 0; i < questions.size(); ++i)
    requests.push_back(request_of(tasks[questions[i].first], question_of(i), options));
  const auto greedy = model.generate(requests);
  std::vector<Reasoning> reasonings(questions.size());
  std::vector<TextRequest> again;
  std::vector<std::size_t> owners;
  for (std::size_t i = 0; i < questions.size(); ++i) {
    const auto kept = kept_reasoning(tasks[questions[i].first], question_of(i), greedy[i].at(0));
    reasonings[i] = {kept.has_value(), kept.value_or(""), 1};
    if (kept || options.medprompt_tries == 1) continue;
    TextRequest request = requests[i];
    request.sampling = {options.temperature, options.top_p};
    request.first_sample = 1;  // the greedy text was the first
    request.num_samples = options.medprompt_tries - 1;
    again.push_back(std::move(request));
    owners.push_back(i);
  }
  const auto sampled = model.generate(again);
  for (std::size_t r = 0; r < owners.size(); ++r) {
    const std::size_t i = owners[r];
    std::vector<std::string> kept;
    for (const generate::Generation& text : sampled[r])
      if (auto rationale = kept_reasoning(tasks[questions[i].first], question_of(i), text))
        kept.push_back(std::move(*rationale));
    reasonings[i].num_tries = options.medprompt_tries;
    if (kept.empty()) continue;
    RandomStream random(options.seed, Purpose::exemplar, item_key(question_of(i)), 1);
    reasonings[i].is_kept = true;
    reasonings[i].rationale = kept[random.below(kept.size())];
  }
  return reasonings;
}

std::vector<std::vector<std::vector<Exemplar>>> choose_exemplars(
    const std::vector<Task>& tasks, const std::vector<std::vector<std::vector<std::size_t>>>& candidates,
    const config::EvalOptions& options, LanguageModel& model, const Team& team, Journal& journal, Reasonings known) {
  const auto num_shots = static_cast<std::size_t>(options.num_shots());
  Reasonings resolved;
  while (options.medprompt_cot) {
    std::set<TrainRef> needed;
    for (std::size_t t = 0; t < tasks.size(); ++t)
      for (const auto& of_item : candidates[t]) add_needed(of_item, t, num_shots, resolved, needed);
    if (needed.empty()) break;
    run_round(tasks, {needed.begin(), needed.end()}, options, model, team, journal, known, resolved);
  }
  std::size_t num_short = 0;
  std::vector<std::vector<std::vector<Exemplar>>> exemplars(tasks.size());
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    for (const auto& of_item : candidates[t]) {
      std::vector<Exemplar> chosen;
      for (std::size_t c = 0; c < of_item.size() && chosen.size() < num_shots; ++c) {
        const auto found = resolved.find({t, of_item[c]});
        if (options.medprompt_cot && (found == resolved.end() || !found->second.is_kept)) continue;
        chosen.push_back({&tasks[t].train[of_item[c]], options.medprompt_cot ? found->second.rationale : ""});
      }
      num_short += chosen.size() < num_shots ? 1 : 0;
      std::reverse(chosen.begin(), chosen.end());
      exemplars[t].push_back(std::move(chosen));
    }
  }
  if (num_short > 0)
    log::info("evaluate: ", num_short, " items have fewer than ", num_shots,
              " exemplars: the model reached the gold answer of too few of their candidates (",
              options.medprompt_candidates, ", eval.medprompt_candidates)");
  return exemplars;
}

}  // namespace osler::eval
