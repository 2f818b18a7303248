#include "plan/parameter_layout.hpp"

#include "base/error.hpp"
#include "plan/piece.hpp"

namespace osler::plan {
namespace {

std::int64_t rounded_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

bool same_kind(const Bucket& a, const Bucket& b) {
  return a.layer == b.layer && a.is_expert == b.is_expert && a.decay == b.decay;
}

class Layout {
 public:
  explicit Layout(Sharers sharers) : sharers_(sharers) {}

  void place(const ParameterSpec& spec) {
    const Bucket its{.layer = spec.layer, .is_expert = spec.expert >= 0, .decay = spec.decay};
    if (result_.buckets.empty() || !same_kind(result_.buckets.back(), its)) {
      OSLER_CHECK(!spec.joins_previous, spec.name, " opens a bucket but joins the parameter before it");
      open_bucket(its);
    }
    if (!spec.joins_previous) end_ = rounded_up(end_, kAlignment);
    result_.offset.push_back(end_);
    note_replicas(spec);
    end_ += num_elements(spec.extent);
  }

  ParameterLayout finish() {
    close_bucket();
    result_.num_elements = end_;
    return std::move(result_);
  }

 private:
  void open_bucket(const Bucket& its) {
    close_bucket();
    result_.buckets.push_back(its);
    result_.buckets.back().begin = end_;
    previous_replicas_ = 1;
  }
  void close_bucket() {
    if (result_.buckets.empty()) return;
    Bucket& last = result_.buckets.back();
    last.size = rounded_up(end_ - last.begin, kAlignment * (last.is_expert ? sharers_.experts : sharers_.dense));
    end_ = last.begin + last.size;
  }
  void note_replicas(const ParameterSpec& spec) {
    std::vector<Replicated>& parts = result_.buckets.back().replicated;
    const bool joins = spec.replicas == previous_replicas_;
    previous_replicas_ = spec.replicas;
    if (spec.replicas == 1) return;
    if (!joins) parts.push_back({.begin = end_, .replicas = spec.replicas});
    parts.back().size = end_ + num_elements(spec.extent) - parts.back().begin;
  }

  Sharers sharers_;
  ParameterLayout result_;
  std::int64_t end_ = 0;
  std::int64_t previous_replicas_ = 1;
};

}  // namespace

ParameterLayout lay_out(const std::vector<ParameterSpec>& specs, Sharers sharers) {
  OSLER_CHECK(sharers.dense > 0 && sharers.experts > 0, sharers.dense, " and ", sharers.experts, " sharers");
  Layout layout(sharers);
  for (const ParameterSpec& spec : specs) layout.place(spec);
  return layout.finish();
}

}  // namespace osler::plan
