#include "generate/embedder.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>

#include "base/error.hpp"
#include "generate/lockstep.hpp"
#include "parallel/regions.hpp"

namespace osler::generate {
namespace {

struct Batch {
  PassRows rows;
  std::vector<std::int64_t> text_R;  ///< which of the batch's texts a row belongs to; padding: one more than there are
};

at::Tensor index_tensor(const std::vector<std::int64_t>& values, c10::Device device) {
  return at::tensor(values, at::kLong).to(device);
}

/// -> [texts, D] on the host
at::Tensor means(model::Model& model, Batch& batch, const std::vector<std::int64_t>& lengths, c10::Device device) {
  const at::NoGradGuard no_grad;
  comm::Group& tp = model.groups().tp();
  const auto num_texts = static_cast<std::int64_t>(lengths.size());
  batch.rows.pad(tp.size());
  batch.text_R.resize(batch.rows.tokens.size(), num_texts);
  const at::Tensor hidden_RD = model
                                   .forward(index_tensor(batch.rows.tokens, device),
                                            index_tensor(batch.rows.positions, device), batch.rows.layout)
                                   .hidden_RD;
  const auto wide = hidden_RD.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  at::Tensor sums = at::zeros({num_texts + 1, hidden_RD.size(1)}, hidden_RD.options().dtype(wide));
  sums.index_add_(0, parallel::own_rows(index_tensor(batch.text_R, device), tp), hidden_RD.to(wide));
  tp.all_reduce(sums, comm::ReduceOp::sum);
  return (sums.narrow(0, 0, num_texts) / index_tensor(lengths, device).to(wide).unsqueeze(1))
      .to(at::kCPU, at::kFloat)
      .contiguous();
}

}  // namespace

std::vector<std::vector<float>> embed(model::Model& model, const std::vector<std::vector<int>>& texts,
                                      std::int64_t batch_tokens, c10::Device device) {
  const std::int64_t max_length = model.config().max_position_embeddings;
  std::vector<std::vector<float>> rows(texts.size());
  std::vector<std::size_t> order(texts.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return texts[a].size() > texts[b].size(); });
  std::exception_ptr failure;
  if (!order.empty() && texts[order.back()].empty())
    failure = std::make_exception_ptr(InternalError("text ", order.back(), " is empty"));

  const Lockstep lockstep(model.groups());
  std::size_t begin = 0;
  while (lockstep.any(begin < order.size(), failure)) {
    Batch batch;
    std::vector<std::int64_t> lengths;
    std::size_t end = begin;
    for (; end < order.size(); ++end) {
      const std::vector<int>& ids = texts[order[end]];
      const std::int64_t length = std::min(static_cast<std::int64_t>(ids.size()), max_length);
      if (end > begin && batch.rows.layout.num_rows + length > batch_tokens) break;
      batch.rows.append(ids.data(), length, 0);
      batch.text_R.resize(batch.rows.tokens.size(), static_cast<std::int64_t>(lengths.size()));
      lengths.push_back(length);
    }
    const at::Tensor mean = means(model, batch, lengths, device);
    for (std::int64_t i = 0; begin < end; ++begin, ++i) {
      const float* row = mean.const_data_ptr<float>() + i * mean.size(1);
      rows[order[begin]].assign(row, row + mean.size(1));
    }
  }
  return rows;
}

}  // namespace osler::generate
