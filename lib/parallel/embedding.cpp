#include "parallel/embedding.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/error.hpp"
#include "parallel/linear.hpp"
#include "parallel/rebuild.hpp"
#include "parallel/regions.hpp"

namespace osler::parallel {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// The tokens whose vectors this rank owns: where they stand among all, and their rows in this rank's table.
struct OwnTokens {
  at::Tensor place, row;
};

OwnTokens own_tokens(const at::Tensor& tokens, const Parameter& table) {
  const std::int64_t first = table.spec.offset[0], count = table.data.size(0);
  if (count == table.spec.shape[0]) return {{}, tokens};
  const at::Tensor row = tokens - first;
  const at::Tensor place = row.ge(0).logical_and_(row.lt(count)).nonzero().squeeze(1);
  return {place, row.index_select(0, place)};
}

/// Each row is found by one rank and zero elsewhere: the sum is exact.
at::Tensor look_up(const OwnTokens& own, const at::Tensor& tokens, const Parameter& table, comm::Group& tp) {
  const at::Tensor found = at::index_select(table.data, 0, own.row);
  if (!own.place.defined()) return found;
  at::Tensor all = at::zeros({tokens.size(0), found.size(1)}, found.options());
  all.index_copy_(0, own.place, found);
  return reduce_scatter_rows(all, tp);
}

struct EmbeddingFunction : torch::autograd::Function<EmbeddingFunction> {
  /// `root` is there because autograd records only what has an input that requires grad.
  static at::Tensor forward(AutogradContext* ctx, at::Tensor root, at::Tensor tokens, const Parameter& table,
                            comm::Group* tp) {
    (void)root;
    const OwnTokens own = own_tokens(tokens, table);
    ctx->save_for_backward({own.place, own.row});
    ctx->saved_data["grad"] = table.grad;
    save_group(ctx, *tp);
    return look_up(own, tokens, table, *tp);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& dy) {
    if (!dy[0].defined()) return {{}, {}, {}, {}};
    at::Tensor grad = ctx->saved_data["grad"].toTensor();
    const auto saved = ctx->get_saved_variables();
    at::Tensor rows = gather_rows(dy[0], saved_group(ctx));
    if (saved[0].defined()) rows = rows.index_select(0, saved[0]);
    rows = rows.to(grad.scalar_type());
    if (grad.is_cuda()) {
      grad.index_put_({saved[1]}, rows, /*accumulate=*/true);  // sorts: the order of additions is fixed, unlike atomics
    } else {
      grad.index_add_(0, saved[1], rows);
    }
    return {{}, {}, {}, {}};
  }
};

}  // namespace

at::Tensor VocabParallelEmbedding::operator()(const at::Tensor& tokens_R) const {
  if (tokens_R.device().is_cpu() && tokens_R.numel() > 0) {
    const std::int64_t vocab_size = table_.spec.shape[0];
    const auto lowest = tokens_R.min().item<std::int64_t>(), highest = tokens_R.max().item<std::int64_t>();
    if (lowest < 0 || highest >= vocab_size)
      throw DataError("token id ", lowest < 0 ? lowest : highest, " is outside the model's vocabulary of ", vocab_size,
                      "; were these tokens made with another tokenizer?");
  }
  if (!records_backward(table_)) return look_up(own_tokens(tokens_R, table_), tokens_R, table_, *tp_);
  const at::Tensor root = at::empty({0}, table_.data.options()).requires_grad_(true);
  return EmbeddingFunction::apply(root, tokens_R, table_, tp_);
}

}  // namespace osler::parallel
