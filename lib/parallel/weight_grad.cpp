#include "parallel/weight_grad.hpp"

#include <ATen/ATen.h>

#include "parallel/rows.hpp"

namespace osler::parallel {
namespace {

constexpr std::int64_t kGrain = 16384;  // elements per thread at least: below it starting threads costs more

OSLER_CLONES void add_bf16(float* total, const Bf16Bits* part, std::int64_t begin, std::int64_t end) {
  for (std::int64_t i = begin; i < end; ++i) total[i] += load(part, i);
}

}  // namespace

void add_into(const at::Tensor& total, const at::Tensor& part) {
  const bool widens = total.scalar_type() == at::kFloat && part.scalar_type() == at::kBFloat16;
  if (widens && total.device().is_cpu() && total.is_contiguous() && part.is_contiguous()) {
    auto* sum = rows_of<float>(total);
    const auto* add = rows_of<Bf16Bits>(part);
    at::parallel_for(0, total.numel(), kGrain,
                     [&](std::int64_t begin, std::int64_t end) { add_bf16(sum, add, begin, end); });
    return;
  }
  at::Tensor target = total;
  target.add_(part);
}

void add_weight_grad(const at::Tensor& grad_FD, const at::Tensor& dy_RF, const at::Tensor& x_RD) {
  if (dy_RF.size(0) == 0) return;
  if (grad_FD.scalar_type() == dy_RF.scalar_type()) {
    at::Tensor target = grad_FD;
    target.addmm_(dy_RF.t(), x_RD);
    return;
  }
  add_into(grad_FD, at::mm(dy_RF.t(), x_RD));
}

}  // namespace osler::parallel
