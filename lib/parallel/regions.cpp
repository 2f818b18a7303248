#include "parallel/regions.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/error.hpp"
#include "parallel/rebuild.hpp"

namespace osler::parallel {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct GatherFunction : torch::autograd::Function<GatherFunction> {
  static at::Tensor forward(AutogradContext* ctx, at::Tensor x, comm::Group* tp) {
    save_group(ctx, *tp);
    return gather_rows(x, *tp);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& dy) {
    return {reduce_scatter_rows(dy[0], saved_group(ctx)), {}};
  }
};

struct ReduceScatterFunction : torch::autograd::Function<ReduceScatterFunction> {
  static at::Tensor forward(AutogradContext* ctx, at::Tensor x, comm::Group* tp) {
    save_group(ctx, *tp);
    return reduce_scatter_rows(x, *tp);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& dy) {
    return {gather_rows(dy[0], saved_group(ctx)), {}};
  }
};

struct ReduceFunction : torch::autograd::Function<ReduceFunction> {
  static at::Tensor forward(AutogradContext*, at::Tensor x, comm::Group* tp) {
    at::Tensor sum = x.clone(at::MemoryFormat::Contiguous);
    tp->all_reduce(sum, comm::ReduceOp::sum);
    return sum;
  }
  static variable_list backward(AutogradContext*, const variable_list& dy) { return {dy[0], {}}; }
};

struct WorkHolder : torch::CustomClassHolder {
  explicit WorkHolder(std::function<void()> to_do) : work(std::move(to_do)) {}
  std::function<void()> work;
};

struct CallFunction : torch::autograd::Function<CallFunction> {
  static at::Tensor forward(AutogradContext* ctx, at::Tensor x, const std::function<void()>& work) {
    ctx->saved_data["work"] = c10::IValue::make_capsule(c10::make_intrusive<WorkHolder>(work));
    return x.view_as(x);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& dy) {
    static_cast<WorkHolder*>(ctx->saved_data["work"].toCapsule().get())->work();
    return {dy[0], {}};
  }
};

}  // namespace

at::Tensor gather_from_sequence_parallel_region(const at::Tensor& x, comm::Group& tp) {
  return tp.size() == 1 ? x : GatherFunction::apply(x, &tp);
}

at::Tensor reduce_scatter_to_sequence_parallel_region(const at::Tensor& x, comm::Group& tp) {
  return tp.size() == 1 ? x : ReduceScatterFunction::apply(x, &tp);
}

at::Tensor reduce_from_tensor_parallel_region(const at::Tensor& x, comm::Group& tp) {
  return tp.size() == 1 ? x : ReduceFunction::apply(x, &tp);
}

at::Tensor gather_rows(const at::Tensor& x, comm::Group& tp) {
  if (tp.size() == 1) return x;
  std::vector<std::int64_t> shape = x.sizes().vec();
  shape[0] *= tp.size();
  at::Tensor full = at::empty(shape, x.options());
  tp.all_gather(full, x.contiguous());
  return full;
}

at::Tensor reduce_scatter_rows(const at::Tensor& x, comm::Group& tp) {
  if (tp.size() == 1) return x;
  std::vector<std::int64_t> shape = x.sizes().vec();
  OSLER_CHECK(shape[0] % tp.size() == 0, shape[0], " rows over ", tp.size(), " tensor-parallel ranks");
  shape[0] /= tp.size();
  at::Tensor shard = at::empty(shape, x.options());
  tp.reduce_scatter(shard, x.contiguous(), comm::ReduceOp::sum);
  return shard;
}

at::Tensor select_rows(const at::Tensor& x, const at::Tensor& index_N, comm::Group& tp) {
  // An all-reduce moves a row twice, an all-gather once.
  if (tp.size() == 1 || 2 * index_N.size(0) >= x.size(0) * tp.size())
    return gather_rows(x, tp).index_select(0, index_N);
  const at::Tensor own = index_N - x.size(0) * tp.rank();
  const at::Tensor place = own.ge(0).logical_and_(own.lt(x.size(0))).nonzero().squeeze(1);
  at::Tensor rows = at::zeros({index_N.size(0), x.size(1)}, x.options());
  rows.index_copy_(0, place, x.index_select(0, own.index_select(0, place)));
  tp.all_reduce(rows, comm::ReduceOp::sum);  // one addend is not zero: the sum is exact
  return rows;
}

at::Tensor call_in_backward(const at::Tensor& x, std::function<void()> work) {
  return CallFunction::apply(x, work);
}

at::Tensor own_rows(const at::Tensor& x, const comm::Group& tp) {
  const std::int64_t rows = x.size(0) / tp.size();
  OSLER_CHECK(rows * tp.size() == x.size(0), x.size(0), " rows over ", tp.size(), " tensor-parallel ranks");
  return x.narrow(0, rows * tp.rank(), rows);
}

}  // namespace osler::parallel
