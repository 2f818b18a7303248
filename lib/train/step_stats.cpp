#include "train/step_stats.hpp"

#include <ATen/ATen.h>

#include <cmath>
#include <numeric>

#include "parallel/regions.hpp"
#include "train/device_batch.hpp"

namespace osler::train {

double StepTotals::loss() const {
  return std::accumulate(loss_S.begin(), loss_S.end(), 0.0) / std::accumulate(tokens_S.begin(), tokens_S.end(), 0.0);
}

bool StepTotals::is_finite() const {
  return std::isfinite(std::accumulate(loss_S.begin(), loss_S.end(), 0.0)) && std::isfinite(aux_loss) &&
         std::isfinite(z_loss);
}

StepStats::StepStats(const Shape& shape, const comm::MeshGroups& groups, c10::Device device)
    : tp_(groups.tp()),
      num_sources_(shape.num_sources),
      num_layers_(shape.num_experts > 0 ? shape.num_layers : 0),
      num_experts_(shape.num_experts),
      load_begin_(shape.num_sources + 2),
      sums_(at::zeros({load_begin_ + num_layers_ * num_sources_ * num_experts_},
                      at::TensorOptions(device).dtype(at::kDouble))),
      tokens_S_(static_cast<std::size_t>(shape.num_sources), 0.0) {}

void StepStats::reset() {
  sums_.zero_();
  tokens_S_.assign(tokens_S_.size(), 0.0);
}

void StepStats::add(const data::Batch& batch, const loss::LossSum& token_loss) {
  if (tp_.rank() != 0) return;
  const auto num_rows = static_cast<std::int64_t>(batch.source_B.size());
  const at::Tensor supervised_B = batch.labels_BT.ne(loss::kIgnoreLabel).sum(1);
  // A product with a one-hot matrix adds in a fixed order, which scatter_add on a GPU does not.
  at::Tensor membership_SB = at::zeros({num_sources_, num_rows}, at::kDouble);
  for (std::int64_t row = 0; row < num_rows; ++row) {
    const auto source = static_cast<std::size_t>(batch.source_B[static_cast<std::size_t>(row)]);
    membership_SB[static_cast<std::int64_t>(source)][row] = 1.0;
    tokens_S_[source] += static_cast<double>(supervised_B[row].item<std::int64_t>());
  }
  const at::Tensor loss_B = token_loss.loss_R.view({num_rows, -1}).sum(1, /*keepdim=*/false, at::kDouble);
  sums_.narrow(0, 0, num_sources_).add_(membership_SB.to(sums_.device()).mv(loss_B));
}

void StepStats::add(const data::Batch& batch, const loss::RouterLoss& router_loss,
                    const std::vector<at::Tensor>& expert_RK) {
  const auto add_loss = [&](std::int64_t at, const at::Tensor& value) {
    if (value.defined() && tp_.rank() == 0) sums_[at].add_(value.detach().to(at::kDouble));
  };
  add_loss(num_sources_, router_loss.aux);
  add_loss(num_sources_ + 1, router_loss.z);
  // Which counter the first expert has for each of this rank's rows.
  const at::Tensor first_R =
      parallel::own_rows(at::tensor(batch.source_B, at::kLong).repeat_interleave(batch.labels_BT.size(1)), tp_)
          .mul(num_experts_)
          .to(sums_.device());
  at::Tensor counts_R = at::ones({expert_RK.front().size(0)}, sums_.options());
  if (const at::Tensor kept = is_token(batch); kept.defined())
    counts_R = parallel::own_rows(kept, tp_).to(sums_.device(), at::kDouble);
  const std::int64_t counters = num_sources_ * num_experts_;
  for (std::int64_t layer = 0; layer < num_layers_; ++layer) {
    const at::Tensor counter = (expert_RK[static_cast<std::size_t>(layer)] + first_R.unsqueeze(1)).flatten();
    // Counts are whole numbers below 2^53: exact in any order.
    sums_.narrow(0, load_begin_ + layer * counters, counters)
        .scatter_add_(0, counter, counts_R.repeat_interleave(expert_RK[static_cast<std::size_t>(layer)].size(1)));
  }
}

StepTotals StepStats::reduce(comm::Group& group, const StopWishes& wishes) {
  std::vector<double> from_host = tokens_S_;
  from_host.push_back(wishes.signals);
  from_host.push_back(wishes.time_limit);
  at::Tensor all = at::cat({sums_, at::tensor(from_host, at::kDouble).to(sums_.device())});
  group.all_reduce(all, comm::ReduceOp::sum);
  const at::Tensor host = all.cpu();
  const double* value = host.data_ptr<double>();

  StepTotals totals;
  totals.loss_S.assign(value, value + num_sources_);
  totals.aux_loss = value[num_sources_];
  totals.z_loss = value[num_sources_ + 1];
  const auto num_experts = static_cast<std::size_t>(num_experts_);
  if (num_layers_ > 0) totals.load_SE.assign(static_cast<std::size_t>(num_sources_), std::vector<double>(num_experts));
  const double* load = value + load_begin_;
  for (std::int64_t layer = 0; layer < num_layers_; ++layer) {
    std::vector<double>& load_E = totals.load_LE.emplace_back(num_experts);
    for (auto& of_source_E : totals.load_SE)
      for (std::size_t expert = 0; expert < num_experts; ++expert, ++load) {
        load_E[expert] += *load;
        of_source_E[expert] += *load;
      }
  }
  totals.tokens_S.assign(load, load + num_sources_);
  totals.wishes = {load[num_sources_], load[num_sources_ + 1]};
  return totals;
}

}  // namespace osler::train
