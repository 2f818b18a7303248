// What every collective on tensors has around it: the sequence check, a span in the trace, the count of bytes.
#include "comm/group.hpp"

#include <numeric>

#include "base/error.hpp"
#include "base/trace.hpp"
#include "comm/watchdog.hpp"
#include "plan/piece.hpp"

namespace osler::comm {
namespace {

#ifdef NDEBUG
constexpr bool kDebugBuild = false;
#else
constexpr bool kDebugBuild = true;
#endif

const char* name_of(ReduceOp op) {
  switch (op) {
    case ReduceOp::sum:
      return "sum";
    case ReduceOp::max:
      return "max";
    case ReduceOp::min:
      return "min";
  }
  return "?";
}

std::int64_t bytes_of(const at::Tensor& tensor) {
  return tensor.numel() * static_cast<std::int64_t>(tensor.element_size());
}

std::int64_t elements_of_row(const at::Tensor& tensor) {
  const auto extents = tensor.sizes().slice(1);
  return std::accumulate(extents.begin(), extents.end(), std::int64_t{1}, std::multiplies<>());
}

std::string elements(const at::Tensor& tensor) {
  return text_of(" of ", tensor.numel(), " x ", c10::toString(tensor.scalar_type()));
}

std::string row_of(const at::Tensor& tensor) {
  return text_of(" of rows of ", elements_of_row(tensor), " x ", c10::toString(tensor.scalar_type()));
}

void check_parts(const at::Tensor& full, const at::Tensor& shard, int size) {
  OSLER_CHECK(full.numel() == shard.numel() * size && full.scalar_type() == shard.scalar_type(), "full of",
              elements(full), " and ", size, " parts", elements(shard));
}

void check_rows(const at::Tensor& tensor, const std::vector<std::int64_t>& rows, int size) {
  OSLER_CHECK(rows.size() == static_cast<std::size_t>(size), rows.size(), " row counts for ", size, " ranks");
  const std::int64_t total = std::accumulate(rows.begin(), rows.end(), std::int64_t{0});
  OSLER_CHECK(total == tensor.size(0), "all_to_all of ", total, " rows, the tensor has ", tensor.size(0));
}

/// For the trace and for the watchdog.
struct Collective {
  explicit Collective(const char* name) : section(name), span(name, trace::Lane::communication) {}
  CollectiveSection section;
  trace::Span span;
};

}  // namespace

Group::Group() : checks_sequence_(kDebugBuild) {}

template <class Describe>
void Group::enter(const Describe& describe) {
  ++sequence_;
  if (checks_sequence_ && size() > 1) require_same(text_of("#", sequence_, " ", describe()));
}

void Group::require_same(const std::string& intent) {
  const std::vector<std::string> intents = all_gather_bytes(intent);
  for (std::size_t other = 1; other < intents.size(); ++other) {
    if (intents[other] == intents.front()) continue;
    throw CommError("ranks 0 and ", other, " of a group of ", size(), " disagree about their next collective: rank 0 ",
                    "is at ", intents.front(), ", rank ", other, " at ", intents[other]);
  }
}

void Group::all_reduce(at::Tensor& tensor, ReduceOp op) {
  enter([&] { return text_of("all_reduce ", name_of(op), elements(tensor)); });
  const Collective collective("all_reduce");
  do_all_reduce(tensor, op);
  const std::int64_t own = plan::split_range(tensor.numel(), size(), rank()).size();
  traffic_.all_reduce += bytes_of(tensor) + (size() - 2) * own * static_cast<std::int64_t>(tensor.element_size());
}

void Group::reduce_scatter(at::Tensor& shard, const at::Tensor& full, ReduceOp op) {
  enter([&] { return text_of("reduce_scatter ", name_of(op), elements(full)); });
  check_parts(full, shard, size());
  const Collective collective("reduce_scatter");
  do_reduce_scatter(shard, full, op);
  traffic_.reduce_scatter += (size() - 1) * bytes_of(shard);
}

// Its span is where it runs: in the thread that works on it, or nowhere on a GPU.
std::unique_ptr<Pending> Group::start_reduce_scatter(at::Tensor& shard, const at::Tensor& full, ReduceOp op) {
  enter([&] { return text_of("start_reduce_scatter ", name_of(op), elements(full)); });
  check_parts(full, shard, size());
  auto pending = do_start_reduce_scatter(shard, full, op);
  traffic_.reduce_scatter += (size() - 1) * bytes_of(shard);
  return pending;
}

void Group::all_gather(at::Tensor& full, const at::Tensor& shard) {
  enter([&] { return text_of("all_gather", elements(full)); });
  check_parts(full, shard, size());
  const Collective collective("all_gather");
  do_all_gather(full, shard);
  traffic_.all_gather += (size() - 1) * bytes_of(shard);
}

void Group::all_to_all(at::Tensor& received, const std::vector<std::int64_t>& recv_rows, const at::Tensor& sent,
                       const std::vector<std::int64_t>& send_rows) {
  enter([&] { return text_of("all_to_all", row_of(sent)); });
  check_rows(received, recv_rows, size());
  check_rows(sent, send_rows, size());
  const Collective collective("all_to_all");
  do_all_to_all(received, recv_rows, sent, send_rows);
  const std::int64_t to_others = sent.size(0) - send_rows[static_cast<std::size_t>(rank())];
  traffic_.all_to_all += to_others * elements_of_row(sent) * static_cast<std::int64_t>(sent.element_size());
}

void Group::broadcast(at::Tensor& tensor, int root) {
  enter([&] { return text_of("broadcast from ", root, elements(tensor)); });
  const Collective collective("broadcast");
  do_broadcast(tensor, root);
  if (rank() == root) traffic_.broadcast += (size() - 1) * bytes_of(tensor);
}

}  // namespace osler::comm
