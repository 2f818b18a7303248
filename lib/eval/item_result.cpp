#include "eval/item_result.hpp"

#include <cmath>

#include "base/error.hpp"

namespace osler::eval {

Json json_of(const Vote& vote) {
  return {{"response", vote.response}, {"order", vote.order}, {"finish", vote.finish}, {"log_prob", vote.log_prob}};
}

Json json_of(const Task& task, const ItemResult& result) {
  Json json = Json::object();
  for (const auto& choice : result.choices) json["choices"].push_back({choice.log_likelihood, choice.is_greedy});
  for (const Vote& vote : result.votes) json["votes"].push_back(json_of(vote));
  for (const Exemplar& exemplar : result.exemplars)
    json["exemplars"].push_back({exemplar.question - task.train.data(), exemplar.rationale});
  return json;
}

ItemResult item_result_of(const Task& task, const Json& json, const std::string& origin) {
  ItemResult result;
  try {
    for (const Json& choice : json.value("choices", Json::array()))
      result.choices.push_back(
          {choice.at(0).is_null() ? std::nan("") : choice.at(0).get<double>(), choice.at(1).get<bool>()});
    for (const Json& vote : json.value("votes", Json::array()))
      result.votes.push_back({.order = vote.at("order").get<OptionOrder>(),
                              .response = vote.at("response").get<std::string>(),
                              .finish = vote.at("finish").get<std::string>(),
                              .shown = {},
                              .option = {},
                              .log_prob = vote.at("log_prob").get<double>()});
    for (const Json& exemplar : json.value("exemplars", Json::array()))
      result.exemplars.push_back(
          {&task.train.at(exemplar.at(0).get<std::size_t>()), exemplar.at(1).get<std::string>()});
  } catch (const std::exception& error) {
    throw DataError(origin, ": not a result of ", task.name, "; remove the folder to start anew");
  }
  return result;
}

}  // namespace osler::eval
