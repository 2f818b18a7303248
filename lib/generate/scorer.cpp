#include "generate/scorer.hpp"

#include <ATen/ATen.h>

#include "base/error.hpp"
#include "generate/score_batch.hpp"
#include "loss/cross_entropy.hpp"

namespace osler::generate {

namespace {

at::Tensor index_tensor(const std::vector<std::int64_t>& values, c10::Device device) {
  return at::tensor(values, at::kLong).to(device);
}

/// Runs one batch and adds its log-probabilities into `scores`.
void run_batch(model::Model& model, const ScoreBatch& batch, c10::Device device,
               std::vector<std::vector<ContinuationScore>>& scores) {
  const at::NoGradGuard no_grad;
  const at::Tensor hidden_RD =
      model.forward(index_tensor(batch.tokens, device), index_tensor(batch.positions, device), batch.layout).hidden_RD;
  const at::Tensor wanted_RD = hidden_RD.index_select(0, index_tensor(batch.head_rows, device));
  const auto [log_prob_R, is_argmax_R] =
      loss::token_log_probs(wanted_RD, model.head().data, index_tensor(batch.labels, device));
  const at::Tensor log_prob = log_prob_R.to(at::kCPU, at::kDouble).contiguous();
  const at::Tensor is_argmax = is_argmax_R.to(at::kCPU).contiguous();
  const double* log_probs = log_prob.const_data_ptr<double>();
  const bool* argmaxes = is_argmax.const_data_ptr<bool>();
  for (const ScoreSlot& slot : batch.slots) {
    ContinuationScore& score = scores[slot.request][slot.continuation];
    score = {0, true};
    for (std::int64_t i = slot.first; i < slot.first + slot.count; ++i) {
      score.log_likelihood += log_probs[i];
      score.is_greedy = score.is_greedy && argmaxes[i];
    }
  }
}

}  // namespace

std::vector<std::vector<ContinuationScore>> score(model::Model& model, const std::vector<ScoreRequest>& requests,
                                                  std::int64_t batch_tokens, c10::Device device,
                                                  const OnScored& on_scored) {
  std::vector<std::vector<ContinuationScore>> scores(requests.size());
  for (std::size_t r = 0; r < requests.size(); ++r) scores[r].resize(requests[r].continuations.size());
  const std::vector<ScoreUnit> units = plan_units(requests, model.config().max_position_embeddings);
  std::vector<std::size_t> units_left(requests.size(), 0);
  for (const ScoreUnit& unit : units) ++units_left[unit.request];

  std::size_t begin = 0;
  while (begin < units.size()) {
    std::size_t end = begin;
    std::int64_t rows = 0;
    while (end < units.size() && (end == begin || rows + units[end].num_rows <= batch_tokens))
      rows += units[end++].num_rows;
    run_batch(model, build_batch(requests, units, begin, end), device, scores);
    for (; begin < end; ++begin) {
      const std::size_t request = units[begin].request;
      if (--units_left[request] == 0 && on_scored) on_scored(request, scores[request]);
    }
  }
  return scores;
}

}  // namespace osler::generate
