// One rank: every collective is a copy or nothing. Tensors may be on any device.
#include <ATen/ATen.h>

#include "base/error.hpp"
#include "comm/group.hpp"

namespace osler::comm {
namespace {

void copy_unless_same(const at::Tensor& to, const at::Tensor& from) {
  OSLER_CHECK(to.numel() == from.numel(), to.numel(), " elements from ", from.numel());
  if (to.numel() != 0 && to.data_ptr() != from.data_ptr()) to.view(-1).copy_(from.view(-1));
}

class SelfGroup final : public Group {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  void barrier() override {}
  std::string broadcast_bytes(const std::string& bytes, int root) override {
    OSLER_CHECK(root == 0, "root ", root);
    return bytes;
  }
  std::vector<std::string> all_gather_bytes(const std::string& bytes) override { return {bytes}; }
  double all_reduce_value(double value, ReduceOp) override { return value; }
  std::int64_t all_reduce_value(std::int64_t value, ReduceOp) override { return value; }
  std::unique_ptr<Group> split(int, int) override { return make_self_group(); }

 protected:
  void do_all_reduce(at::Tensor&, ReduceOp) override {}
  void do_reduce_scatter(at::Tensor& shard, const at::Tensor& full, ReduceOp) override {
    copy_unless_same(shard, full);
  }
  std::unique_ptr<Pending> do_start_reduce_scatter(at::Tensor& shard, const at::Tensor& full, ReduceOp) override {
    copy_unless_same(shard, full);
    return std::make_unique<Done>();
  }
  void do_all_gather(at::Tensor& full, const at::Tensor& shard) override { copy_unless_same(full, shard); }
  void do_all_to_all(at::Tensor& received, const std::vector<std::int64_t>& recv_rows, const at::Tensor& sent,
                     const std::vector<std::int64_t>& send_rows) override {
    OSLER_CHECK(send_rows == recv_rows, "one rank sends to itself what it receives");
    copy_unless_same(received, sent);
  }
  void do_broadcast(at::Tensor&, int root) override { OSLER_CHECK(root == 0, "root ", root); }
};

}  // namespace

std::unique_ptr<Group> make_self_group() {
  return std::make_unique<SelfGroup>();
}

Group& self_group() {
  static SelfGroup group;
  return group;
}

}  // namespace osler::comm
