#include "data/decontaminate.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>

#include "base/error.hpp"

namespace osler::data {
namespace {

void sum_over_ranks(comm::Group& group, std::vector<std::int64_t>& counts) {
  at::Tensor tensor = at::empty({static_cast<std::int64_t>(counts.size())}, at::kLong);
  const std::size_t bytes = counts.size() * sizeof(std::int64_t);
  if (bytes == 0) return;
  std::memcpy(tensor.data_ptr<std::int64_t>(), counts.data(), bytes);
  group.all_reduce(tensor, comm::ReduceOp::sum);
  std::memcpy(counts.data(), tensor.data_ptr<std::int64_t>(), bytes);
}

bool is_duplicate(const UnitOverlaps& unit, std::size_t document) {
  return document < unit.is_duplicate.size() && unit.is_duplicate[document] != 0;
}

/// Kept documents that hold each pattern, over all ranks. *Collective.*
std::vector<std::int64_t> count_documents(comm::Group& group, const OverlapIndex& index,
                                          const std::vector<UnitOverlaps>& mine) {
  std::vector<std::int64_t> counts(index.num_patterns(), 0);
  for (const UnitOverlaps& unit : mine) {
    for (const PatternHit& hit : unit.hits) counts.at(hit.pattern) += is_duplicate(unit, hit.document) ? 0 : 1;
  }
  sum_over_ranks(group, counts);
  return counts;
}

void sort_unique(std::vector<std::size_t>& values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
}

/// Calls use(document, items) for every kept document of the unit that overlaps any, items ascending.
template <class Use>
void for_each_overlap(const OverlapIndex& index, const std::vector<char>& is_stock, const UnitOverlaps& unit,
                      const Use& use) {
  std::vector<std::size_t> items;
  for (std::size_t i = 0; i < unit.hits.size();) {
    const std::uint32_t document = unit.hits[i].document;
    items.clear();
    for (; i < unit.hits.size() && unit.hits[i].document == document; ++i) {
      const std::uint32_t pattern = unit.hits[i].pattern;
      if (is_stock[pattern] != 0) continue;
      const auto touched = index.items_of(pattern);
      items.insert(items.end(), touched.begin(), touched.end());
    }
    if (items.empty() || is_duplicate(unit, document)) continue;
    sort_unique(items);
    use(document, items);
  }
}

}  // namespace

OverlapJudgement judge_overlaps(comm::Group& group, const OverlapIndex& index, std::size_t num_sources,
                                const std::vector<std::int64_t>& num_documents, const std::vector<UnitOverlaps>& mine) {
  OSLER_CHECK(num_documents.size() == index.num_patterns(), num_documents.size(), " ", index.num_patterns());
  const std::vector<std::int64_t> kept = count_documents(group, index, mine);
  std::vector<std::int64_t> raw = num_documents;
  sum_over_ranks(group, raw);

  OverlapJudgement judgement;
  judgement.items.resize(index.num_items());
  std::vector<char> is_stock(index.num_patterns(), 0);
  const std::int64_t most = index.rules().max_documents;
  for (std::size_t p = 0; p < index.num_patterns(); ++p) {
    if (most > 0 && index.can_be_stock(p) && (kept[p] > most || raw[p] > most * OverlapScanner::kRawFactor)) {
      is_stock[p] = 1;
      ++judgement.num_stock;
    } else if (kept[p] > 0) {
      for (const std::uint32_t item : index.items_of(p)) {
        if (index.is_question(p))
          judgement.items[item].question_hit = true;
        else
          ++judgement.items[item].ngram_hits;
      }
    }
  }

  std::vector<std::int64_t> of_item(index.num_items(), 0);
  std::vector<std::int64_t> of_benchmark(index.num_benchmarks() * num_sources, 0);
  for (const UnitOverlaps& unit : mine) {
    OSLER_CHECK(unit.source < num_sources, unit.source);
    std::vector<char>& flags = judgement.is_contaminated.emplace_back(unit.num_documents, 0);
    std::vector<std::size_t> benchmarks;
    for_each_overlap(index, is_stock, unit, [&](std::uint32_t document, const std::vector<std::size_t>& items) {
      flags.at(document) = 1;
      benchmarks.clear();
      for (const std::size_t item : items) {
        ++of_item[item];
        benchmarks.push_back(index.benchmark_of(item));
      }
      sort_unique(benchmarks);
      for (const std::size_t benchmark : benchmarks) ++of_benchmark[benchmark * num_sources + unit.source];
    });
  }
  sum_over_ranks(group, of_item);
  sum_over_ranks(group, of_benchmark);
  for (std::size_t i = 0; i < of_item.size(); ++i) judgement.items[i].documents = of_item[i];
  for (std::size_t b = 0; b < index.num_benchmarks(); ++b) {
    const auto begin = of_benchmark.begin() + static_cast<std::ptrdiff_t>(b * num_sources);
    judgement.documents.emplace_back(begin, begin + static_cast<std::ptrdiff_t>(num_sources));
  }
  return judgement;
}

}  // namespace osler::data
