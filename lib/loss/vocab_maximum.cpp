#include "loss/vocab_maximum.hpp"

#include <ATen/ATen.h>

#include "loss/row_softmax.hpp"

namespace osler::loss {
namespace {

using parallel::Bf16Bits;
using parallel::load;

/// Of one rank's part: the first greatest logit, where it is, and the sum of exponentials relative to it.
struct Rows {
  const void* logits;
  std::int64_t width;
  std::int64_t* argmax;
  float *top, *sum;
};

template <class T>
OSLER_INLINE void rows_body(const Rows& rows, std::int64_t begin, std::int64_t end) {
  for (std::int64_t r = begin; r < end; ++r) {
    const T* row = static_cast<const T*>(rows.logits) + r * rows.width;
    const float top = row_maximum(row, rows.width);
    std::int64_t place = 0;
    while (place + 1 < rows.width && load(row, place) != top) ++place;
    rows.argmax[r] = place;
    rows.top[r] = top;
    rows.sum[r] = row_exponential_sum(row, rows.width, top);
  }
}

OSLER_CLONES void maximum_rows(const Rows& rows, const float*, std::int64_t begin, std::int64_t end) {
  rows_body<float>(rows, begin, end);
}
OSLER_CLONES void maximum_rows(const Rows& rows, const Bf16Bits*, std::int64_t begin, std::int64_t end) {
  rows_body<Bf16Bits>(rows, begin, end);
}

struct Part {
  at::Tensor argmax_R, top_R, sum_R;
};

Part part_of(const at::Tensor& logits) {
  const auto wide = logits.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  if (!parallel::has_host_rows(logits)) {
    const auto [top, argmax] = logits.max(-1);
    return {argmax, top.to(wide), (logits.to(wide) - top.to(wide).unsqueeze(1)).exp_().sum(-1)};
  }
  Part part{at::empty({logits.size(0)}, logits.options().dtype(at::kLong)),
            at::empty({logits.size(0)}, logits.options().dtype(wide)),
            at::empty({logits.size(0)}, logits.options().dtype(wide))};
  const Rows rows{logits.const_data_ptr(), logits.size(1), part.argmax_R.data_ptr<std::int64_t>(),
                  part.top_R.data_ptr<float>(), part.sum_R.data_ptr<float>()};
  parallel::with_row_type(logits, [&]<class T>(T*) {
    at::parallel_for(0, logits.size(0), 1, [&](std::int64_t begin, std::int64_t end) {
      maximum_rows(rows, static_cast<const T*>(nullptr), begin, end);
    });
  });
  return part;
}

}  // namespace

VocabMaximum vocab_maximum(const at::Tensor& logits, std::int64_t first, comm::Group& tp) {
  Part part = part_of(logits);
  if (tp.size() == 1) return {part.argmax_R, part.top_R, part.top_R + part.sum_R.log()};
  // fp64 holds an id exactly.
  const at::Tensor own =
      at::stack({part.top_R.to(at::kDouble), (part.argmax_R + first).to(at::kDouble), part.sum_R.to(at::kDouble)})
          .unsqueeze(0);
  at::Tensor all = at::empty({tp.size(), 3, logits.size(0)}, own.options());
  tp.all_gather(all, own);
  const at::Tensor top_PR = all.select(1, 0), top_R = top_PR.amax(0);
  const at::Tensor argmax_PR = all.select(1, 1).masked_fill(top_PR.ne(top_R), 1e18);
  const at::Tensor sum_R = (all.select(1, 2) * (top_PR - top_R).exp()).sum(0);
  const auto type = part.top_R.scalar_type();
  return {argmax_PR.amin(0).to(at::kLong), top_R.to(type), (top_R + sum_R.log()).to(type)};
}

at::Tensor gather_vocabulary(const at::Tensor& logits, comm::Group& tp) {
  if (tp.size() == 1) return logits;
  at::Tensor all = at::empty({tp.size(), logits.size(0), logits.size(1)}, logits.options());
  tp.all_gather(all, logits.contiguous().unsqueeze(0));
  return all.transpose(0, 1).reshape({logits.size(0), tp.size() * logits.size(1)});
}

}  // namespace osler::loss
