#include "generate/token_choice.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "loss/vocab_maximum.hpp"
#include "parallel/linear.hpp"

namespace osler::generate {
namespace {

constexpr std::int64_t kRows = 512;  // whose logits exist at a time: 64 MiB in fp32 with 32000 tokens

bool is_greedy(const Draw& draw) {
  return draw.sampling.temperature == 0;
}

/// Draws [begin, end) over logits whose first row is `first`.
class Block {
 public:
  Block(const std::vector<Draw>& draws, std::size_t begin, std::size_t end, std::int64_t first)
      : draws_(draws), begin_(begin), end_(end), first_(first) {}

  void choose(const at::Tensor& logits, std::int64_t first_word, comm::Group& tp, std::vector<Choice>& choices) const {
    const loss::VocabMaximum maximum = loss::vocab_maximum(logits, first_word, tp);
    const at::Tensor argmax = maximum.argmax_R.cpu(), log_sum = maximum.log_sum_exp_R.to(at::kCPU, at::kDouble);
    const at::Tensor top = maximum.top_R.to(at::kCPU, at::kDouble);
    for (std::size_t i = begin_; i < end_; ++i) {
      const std::int64_t row = draws_[i].row - first_;
      choices[i].id = static_cast<int>(argmax.const_data_ptr<std::int64_t>()[row]);
      choices[i].log_prob =
          static_cast<float>(top.const_data_ptr<double>()[row] - log_sum.const_data_ptr<double>()[row]);
    }
    const auto samples = [](const Draw& draw) { return !is_greedy(draw); };
    if (std::any_of(draws_.begin() + static_cast<std::ptrdiff_t>(begin_),
                    draws_.begin() + static_cast<std::ptrdiff_t>(end_), samples))
      sample(loss::gather_vocabulary(logits, tp).to(at::kCPU, at::kFloat).contiguous(), log_sum, choices);
  }

 private:
  void sample(const at::Tensor& logits, const at::Tensor& log_sum, std::vector<Choice>& choices) const {
    const std::int64_t width = logits.size(1);
    at::parallel_for(static_cast<std::int64_t>(begin_), static_cast<std::int64_t>(end_), 1, [&](auto begin, auto end) {
      std::vector<float> scratch;
      for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
        if (is_greedy(draws_[i])) continue;
        const std::int64_t row = draws_[i].row - first_;
        const float* values = logits.const_data_ptr<float>() + row * width;
        const std::int64_t id = sample_row(values, width, draws_[i].sampling, draws_[i].u, scratch);
        choices[i] = {static_cast<int>(id),
                      static_cast<float>(static_cast<double>(values[id]) - log_sum.const_data_ptr<double>()[row])};
      }
    });
  }

  const std::vector<Draw>& draws_;
  std::size_t begin_, end_;
  std::int64_t first_;
};

}  // namespace

std::vector<Choice> choose_tokens(const at::Tensor& hidden_ND, const parallel::Parameter& head,
                                  const std::vector<Draw>& draws, comm::Group& tp) {
  std::vector<Choice> choices(draws.size());
  std::size_t begin = 0;
  for (std::int64_t first = 0; first < hidden_ND.size(0); first += kRows) {
    const std::int64_t rows = std::min(kRows, hidden_ND.size(0) - first);
    std::size_t end = begin;
    while (end < draws.size() && draws[end].row < first + rows) ++end;
    const at::Tensor logits = parallel::inference_product(hidden_ND.narrow(0, first, rows), head.data);
    Block(draws, begin, end, first).choose(logits, head.spec.offset[0], tp, choices);
    begin = end;
  }
  return choices;
}

}  // namespace osler::generate
