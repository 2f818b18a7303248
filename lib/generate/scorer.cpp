#include "generate/scorer.hpp"

#include <ATen/ATen.h>

#include "base/error.hpp"
#include "generate/lockstep.hpp"
#include "generate/score_batch.hpp"
#include "loss/cross_entropy.hpp"
#include "parallel/regions.hpp"

namespace osler::generate {

namespace {

at::Tensor index_tensor(const std::vector<std::int64_t>& values, c10::Device device) {
  return at::tensor(values, at::kLong).to(device);
}

PassRows padded_rows(const ScoreBatch& batch, std::int64_t multiple) {
  PassRows rows{batch.tokens, batch.positions, batch.layout};
  rows.pad(multiple);
  return rows;
}

/// Runs one batch and adds its log-probabilities into `scores`.
void run_batch(model::Model& model, const ScoreBatch& batch, c10::Device device,
               std::vector<std::vector<ContinuationScore>>& scores) {
  const at::NoGradGuard no_grad;
  comm::Group& tp = model.groups().tp();
  const PassRows rows = padded_rows(batch, tp.size());
  const at::Tensor hidden_RD =
      model.forward(index_tensor(rows.tokens, device), index_tensor(rows.positions, device), rows.layout).hidden_RD;
  if (batch.head_rows.empty()) return;
  const at::Tensor wanted_RD = parallel::select_rows(hidden_RD, index_tensor(batch.head_rows, device), tp);
  const auto [log_prob_R, is_argmax_R] =
      loss::token_log_probs(wanted_RD, model.head(), index_tensor(batch.labels, device), tp);
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
  std::vector<ScoreUnit> units;
  std::vector<std::size_t> units_left(requests.size(), 0);
  std::exception_ptr failure;
  const auto noting_failure = [&](const auto& work) {
    try {
      work();
    } catch (...) {
      failure = std::current_exception();
    }
  };
  noting_failure([&] {
    for (std::size_t r = 0; r < requests.size(); ++r) scores[r].resize(requests[r].continuations.size());
    units = plan_units(requests, model.config().max_position_embeddings);
    for (const ScoreUnit& unit : units) ++units_left[unit.request];
  });

  const Lockstep lockstep(model.groups());
  std::size_t begin = 0;
  while (lockstep.any(begin < units.size(), failure)) {
    std::size_t end = begin;
    std::int64_t rows = 0;
    while (end < units.size() && (end == begin || rows + units[end].num_rows <= batch_tokens))
      rows += units[end++].num_rows;
    run_batch(model, build_batch(requests, units, begin, end), device, scores);
    noting_failure([&] {
      for (; begin < end; ++begin) {
        const std::size_t request = units[begin].request;
        if (--units_left[request] == 0 && on_scored) on_scored(request, scores[request]);
      }
    });
  }
  return scores;
}

}  // namespace osler::generate
