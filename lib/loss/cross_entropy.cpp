#include "loss/cross_entropy.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <optional>

#include "base/error.hpp"
#include "loss/softmax_rows.hpp"
#include "loss/vocab_maximum.hpp"
#include "loss/vocab_parallel_rows.hpp"
#include "parallel/linear.hpp"
#include "parallel/regions.hpp"
#include "parallel/weight_grad.hpp"
#include "plan/loss_chunk.hpp"

namespace osler::loss {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

c10::ScalarType loss_type(const at::Tensor& hidden) {
  return hidden.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

/// Calls work(first row, rows, logits [rows, V]) for every chunk; the logits' memory is the same each time.
template <class Work>
void for_each_chunk(const at::Tensor& hidden_RD, const at::Tensor& head_VD, Work&& work) {
  const std::int64_t num_rows = hidden_RD.size(0);
  const std::int64_t chunk =
      plan::loss_chunk_rows(num_rows, head_VD.size(0), static_cast<double>(hidden_RD.element_size()));
  const at::Tensor buffer = at::empty({chunk, head_VD.size(0)}, hidden_RD.options());
  for (std::int64_t begin = 0; begin < num_rows; begin += chunk) {
    const std::int64_t rows = std::min(chunk, num_rows - begin);
    at::Tensor logits = buffer.narrow(0, 0, rows);
    at::mm_out(logits, hidden_RD.narrow(0, begin, rows), head_VD.t());
    work(begin, rows, logits);
  }
}

void rows_over_tp(const at::Tensor& logits, const at::Tensor& labels, const at::Tensor& loss,
                  std::optional<double> grad_scale, const parallel::Parameter& head, comm::Group& tp) {
  if (tp.size() == 1) {
    cross_entropy_rows(logits, labels, loss, grad_scale);
  } else {
    vocab_parallel_cross_entropy_rows(logits, labels, loss, grad_scale, head.spec.offset[0], tp);
  }
}

struct Pass {
  at::Tensor loss_R;
  at::Tensor dhidden_RD;  ///< of this rank's rows; undefined without gradients
};

Pass run(const at::Tensor& own_hidden_RD, const parallel::Parameter& head, const at::Tensor& labels_R,
         std::optional<double> grad_scale, comm::Group& tp) {
  const at::Tensor hidden_RD = parallel::gather_rows(own_hidden_RD.contiguous(), tp);
  Pass pass;
  pass.loss_R = at::empty({hidden_RD.size(0)}, hidden_RD.options().dtype(loss_type(hidden_RD)));
  at::Tensor dhidden_RD;  // what this rank's part of the vocabulary adds, of all rows
  if (grad_scale) dhidden_RD = at::empty_like(hidden_RD);
  for_each_chunk(hidden_RD, head.data, [&](std::int64_t begin, std::int64_t rows, const at::Tensor& logits) {
    const at::Tensor labels = labels_R.narrow(0, begin, rows), loss = pass.loss_R.narrow(0, begin, rows);
    rows_over_tp(logits, labels, loss, grad_scale, head, tp);
    if (!grad_scale) return;
    at::Tensor dhidden = dhidden_RD.narrow(0, begin, rows);
    at::mm_out(dhidden, logits, head.data);
    parallel::add_weight_grad(head.grad, logits, hidden_RD.narrow(0, begin, rows));
  });
  if (grad_scale) pass.dhidden_RD = parallel::reduce_scatter_rows(dhidden_RD, tp);
  return pass;
}

struct CrossEntropyFunction : torch::autograd::Function<CrossEntropyFunction> {
  static at::Tensor forward(AutogradContext* ctx, at::Tensor hidden, const parallel::Parameter& head,
                            const at::Tensor* labels, double grad_scale, comm::Group* tp, at::Tensor* loss_R) {
    const Pass pass = run(hidden, head, *labels, grad_scale, *tp);
    ctx->saved_data["dhidden"] = pass.dhidden_RD;
    *loss_R = pass.loss_R;
    return pass.loss_R.sum() * grad_scale;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    if (!gradients[0].defined()) return {{}, {}, {}, {}, {}, {}};
    if (gradients[0].device().is_cpu())
      OSLER_CHECK(gradients[0].item<double>() == 1.0, "LossSum::scaled was multiplied by ",
                  gradients[0].item<double>());
    at::Tensor dhidden = ctx->saved_data["dhidden"].toTensor();
    ctx->saved_data.clear();
    return {dhidden, {}, {}, {}, {}, {}};
  }
};

/// Reading the labels back costs a device a synchronisation: only the host checks them.
void check_labels(const at::Tensor& labels_R, std::int64_t vocab) {
  if (!labels_R.device().is_cpu() || labels_R.numel() == 0) return;
  const at::Tensor bad = labels_R.ne(kIgnoreLabel).logical_and_(labels_R.lt(0).logical_or_(labels_R.ge(vocab)));
  if (bad.any().item<bool>())
    throw DataError("label ", labels_R.masked_select(bad)[0].item<std::int64_t>(),
                    " is outside the model's vocabulary of ", vocab,
                    "; were these tokens made with another tokenizer?");
}

}  // namespace

LossSum cross_entropy(const at::Tensor& hidden_RD, const parallel::Parameter& head, const at::Tensor& labels_R,
                      double grad_scale, comm::Group& tp) {
  OSLER_CHECK(hidden_RD.dim() == 2 && labels_R.dim() == 1 && labels_R.size(0) == hidden_RD.size(0) * tp.size(),
              "hidden is [R/tp, D] and labels [R]");
  const at::Tensor labels = labels_R.contiguous();
  check_labels(labels, head.spec.shape[0]);
  LossSum loss;
  if (parallel::records_backward(head) && hidden_RD.requires_grad()) {
    loss.scaled = CrossEntropyFunction::apply(hidden_RD, head, &labels, grad_scale, &tp, &loss.loss_R);
  } else {
    loss.loss_R = run(hidden_RD, head, labels, std::nullopt, tp).loss_R;
    loss.scaled = loss.loss_R.sum() * grad_scale;
  }
  loss.sum = loss.loss_R.sum();
  loss.num_tokens = labels.ne(kIgnoreLabel).sum().item<std::int64_t>();
  return loss;
}

std::pair<at::Tensor, at::Tensor> token_log_probs(const at::Tensor& hidden_RD, const parallel::Parameter& head,
                                                  const at::Tensor& labels_R, comm::Group& tp) {
  const at::NoGradGuard no_grad;
  const at::Tensor labels = labels_R.contiguous();
  check_labels(labels, head.spec.shape[0]);
  at::Tensor loss_R = at::empty({hidden_RD.size(0)}, hidden_RD.options().dtype(loss_type(hidden_RD)));
  const at::Tensor is_top_R = at::empty({hidden_RD.size(0)}, hidden_RD.options().dtype(at::kBool));
  for_each_chunk(
      hidden_RD.contiguous(), head.data, [&](std::int64_t begin, std::int64_t rows, const at::Tensor& logits) {
        const at::Tensor chunk = labels.narrow(0, begin, rows), loss = loss_R.narrow(0, begin, rows);
        // Before the logits are overwritten.
        is_top_R.narrow(0, begin, rows).copy_(vocab_maximum(logits, head.spec.offset[0], tp).argmax_R.eq(chunk));
        rows_over_tp(logits, chunk, loss, std::nullopt, head, tp);
      });
  return {loss_R.neg_(), is_top_R};
}

}  // namespace osler::loss
