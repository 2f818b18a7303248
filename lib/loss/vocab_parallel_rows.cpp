#include "loss/vocab_parallel_rows.hpp"

#include <ATen/ATen.h>

#include "loss/cross_entropy.hpp"
#include "loss/row_softmax.hpp"

namespace osler::loss {
namespace {

using parallel::Bf16Bits;
using parallel::exp_of;
using parallel::load;
using parallel::store;

/// What the row loops below read and write: logits [rows, width], everything else one value a row.
struct Block {
  void* logits;
  const std::int64_t* labels;
  float *top, *sum, *label_logit;
  std::int64_t width, first;
  float scale;

  /// Where the row's label stands in this part; -1: in another, or nowhere.
  std::int64_t own_label(std::int64_t row) const {
    const std::int64_t at = labels[row] == kIgnoreLabel ? -1 : labels[row] - first;
    return at < width ? at : -1;
  }
};

template <class T>
OSLER_INLINE void maxima_body(const Block& block, std::int64_t begin, std::int64_t end) {
  for (std::int64_t r = begin; r < end; ++r)
    block.top[r] = row_maximum(static_cast<const T*>(block.logits) + r * block.width, block.width);
}

template <class T>
OSLER_INLINE void sums_body(const Block& block, std::int64_t begin, std::int64_t end) {
  for (std::int64_t r = begin; r < end; ++r) {
    const T* row = static_cast<const T*>(block.logits) + r * block.width;
    block.sum[r] = row_exponential_sum(row, block.width, block.top[r]);
    const std::int64_t label = block.own_label(r);
    block.label_logit[r] = label < 0 ? 0 : load(row, label);
  }
}

template <class T>
OSLER_INLINE void gradient_body(const Block& block, std::int64_t begin, std::int64_t end) {
  for (std::int64_t r = begin; r < end; ++r) {
    T* row = static_cast<T*>(block.logits) + r * block.width;
    const bool ignored = block.labels[r] == kIgnoreLabel;
    const float top = block.top[r], factor = block.scale / block.sum[r];
    const std::int64_t label = block.own_label(r);
    const float at_label = label < 0 ? 0 : exp_of(load(row, label) - top) * factor - block.scale;
    for (std::int64_t i = 0; i < block.width; ++i) store(row, i, ignored ? 0.0f : exp_of(load(row, i) - top) * factor);
    if (label >= 0) store(row, label, at_label);
  }
}

OSLER_CLONES void maxima_rows(const Block& block, const float*, std::int64_t begin, std::int64_t end) {
  maxima_body<float>(block, begin, end);
}
OSLER_CLONES void maxima_rows(const Block& block, const Bf16Bits*, std::int64_t begin, std::int64_t end) {
  maxima_body<Bf16Bits>(block, begin, end);
}
OSLER_CLONES void sums_rows(const Block& block, const float*, std::int64_t begin, std::int64_t end) {
  sums_body<float>(block, begin, end);
}
OSLER_CLONES void sums_rows(const Block& block, const Bf16Bits*, std::int64_t begin, std::int64_t end) {
  sums_body<Bf16Bits>(block, begin, end);
}
OSLER_CLONES void gradient_rows(const Block& block, const float*, std::int64_t begin, std::int64_t end) {
  gradient_body<float>(block, begin, end);
}
OSLER_CLONES void gradient_rows(const Block& block, const Bf16Bits*, std::int64_t begin, std::int64_t end) {
  gradient_body<Bf16Bits>(block, begin, end);
}

/// Host kernels over fp32 and bf16 rows.
class HostRows {
 public:
  HostRows(const at::Tensor& logits, const at::Tensor& labels, const at::Tensor& top, const at::Tensor& sums_2R,
           double scale, std::int64_t first)
      : logits_(logits),
        block_{logits.data_ptr(),
               labels.const_data_ptr<std::int64_t>(),
               top.data_ptr<float>(),
               sums_2R.data_ptr<float>(),
               sums_2R.data_ptr<float>() + logits.size(0),
               logits.size(1),
               first,
               static_cast<float>(scale)} {}
  void maxima() const {
    for_rows([&](auto* type, auto begin, auto end) { maxima_rows(block_, type, begin, end); });
  }
  void sums() const {
    for_rows([&](auto* type, auto begin, auto end) { sums_rows(block_, type, begin, end); });
  }
  void gradient() const {
    for_rows([&](auto* type, auto begin, auto end) { gradient_rows(block_, type, begin, end); });
  }

 private:
  template <class Work>
  void for_rows(const Work& work) const {
    parallel::with_row_type(logits_, [&]<class T>(T*) {
      at::parallel_for(0, logits_.size(0), 1,
                       [&](std::int64_t begin, std::int64_t end) { work(static_cast<const T*>(nullptr), begin, end); });
    });
  }
  const at::Tensor& logits_;
  Block block_;
};

/// LibTorch's operations for every other device and dtype.
class AnyRows {
 public:
  AnyRows(const at::Tensor& logits, const at::Tensor& labels, const at::Tensor& top, const at::Tensor& sums_2R,
          double scale, std::int64_t first)
      : logits_(logits), top_(top), sums_2R_(sums_2R), scale_(scale) {
    const at::Tensor at_label = labels - first;
    ignored_ = labels.eq(kIgnoreLabel);
    elsewhere_ = ignored_.logical_or(at_label.lt(0)).logical_or_(at_label.ge(logits.size(1)));
    label_ = at_label.masked_fill(elsewhere_, 0).unsqueeze(1);
  }
  void maxima() { top_.copy_(logits_.amax(-1)); }
  void sums() {
    sums_2R_[0].copy_(exponentials().sum(-1));
    sums_2R_[1].copy_(logits_.gather(1, label_).squeeze(1).masked_fill_(elsewhere_, 0));
  }
  void gradient() {
    const at::Tensor scale_R = at::full_like(top_, scale_).masked_fill_(ignored_, 0);
    at::Tensor gradient = exponentials().mul_((scale_R / sums_2R_[0]).unsqueeze(1));
    gradient.scatter_add_(1, label_, scale_R.masked_fill(elsewhere_, 0).neg_().unsqueeze(1));
    logits_.copy_(gradient);
  }

 private:
  at::Tensor exponentials() const { return (logits_.to(top_.scalar_type()) - top_.unsqueeze(1)).exp_(); }
  at::Tensor logits_, top_, sums_2R_, ignored_, elsewhere_, label_;
  double scale_;
};

template <class Rows>
void agree_on_rows(Rows rows, at::Tensor& top, at::Tensor& sums_2R, at::Tensor& loss, const at::Tensor& labels,
                   bool with_gradient, comm::Group& tp) {
  rows.maxima();
  tp.all_reduce(top, comm::ReduceOp::max);
  rows.sums();
  tp.all_reduce(sums_2R, comm::ReduceOp::sum);
  loss.copy_((sums_2R[0].log() + top - sums_2R[1]).masked_fill_(labels.eq(kIgnoreLabel), 0));
  if (with_gradient) rows.gradient();
}

}  // namespace

void vocab_parallel_cross_entropy_rows(at::Tensor logits, const at::Tensor& labels, at::Tensor loss,
                                       std::optional<double> grad_scale, std::int64_t first, comm::Group& tp) {
  at::Tensor top = at::empty({logits.size(0)}, loss.options());
  at::Tensor sums_2R = at::empty({2, logits.size(0)}, loss.options());
  const double scale = grad_scale.value_or(0);
  if (parallel::has_host_rows(logits)) {
    agree_on_rows(HostRows(logits, labels, top, sums_2R, scale, first), top, sums_2R, loss, labels,
                  grad_scale.has_value(), tp);
  } else {
    agree_on_rows(AnyRows(logits, labels, top, sums_2R, scale, first), top, sums_2R, loss, labels,
                  grad_scale.has_value(), tp);
  }
}

}  // namespace osler::loss
