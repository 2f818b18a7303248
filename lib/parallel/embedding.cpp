#include "parallel/embedding.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/error.hpp"
#include "parallel/linear.hpp"

namespace osler::parallel {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct EmbeddingFunction : torch::autograd::Function<EmbeddingFunction> {
  /// `root` is there because autograd records only what has an input that requires grad.
  static at::Tensor forward(AutogradContext* ctx, at::Tensor root, at::Tensor tokens, const Parameter& table) {
    (void)root;
    ctx->save_for_backward({tokens});
    ctx->saved_data["grad"] = table.grad;
    return at::index_select(table.data, 0, tokens);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& dy) {
    at::Tensor grad = ctx->saved_data["grad"].toTensor();
    const at::Tensor tokens = ctx->get_saved_variables().at(0);
    if (!dy[0].defined()) return {{}, {}, {}};
    const at::Tensor rows = dy[0].to(grad.scalar_type());
    if (grad.is_cuda()) {
      grad.index_put_({tokens}, rows, /*accumulate=*/true);  // sorts: the order of additions is fixed, unlike atomics
    } else {
      grad.index_add_(0, tokens, rows);
    }
    return {{}, {}, {}};
  }
};

}  // namespace

VocabParallelEmbedding::VocabParallelEmbedding(Parameter table_VD) : table_(std::move(table_VD)) {}

at::Tensor VocabParallelEmbedding::operator()(const at::Tensor& tokens_R) const {
  if (tokens_R.device().is_cpu() && tokens_R.numel() > 0) {
    const auto lowest = tokens_R.min().item<std::int64_t>(), highest = tokens_R.max().item<std::int64_t>();
    if (lowest < 0 || highest >= table_.data.size(0))
      throw DataError("token id ", lowest < 0 ? lowest : highest, " is outside the model's vocabulary of ",
                      table_.data.size(0), "; were these tokens made with another tokenizer?");
  }
  if (!records_backward(table_)) return at::index_select(table_.data, 0, tokens_R);
  const at::Tensor root = at::empty({0}, table_.data.options()).requires_grad_(true);
  return EmbeddingFunction::apply(root, tokens_R, table_);
}

}  // namespace osler::parallel
