#include "data/deduplicate.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <tuple>

#include "base/error.hpp"

namespace osler::data {
namespace {

/// A document's digest and its place: unit in the upper half, number within the unit in the lower.
struct Row {
  std::int64_t high;
  std::int64_t low;
  std::int64_t place;
};
static_assert(sizeof(Row) == 3 * sizeof(std::int64_t));

std::int64_t place_of(std::size_t unit, std::size_t document) {
  OSLER_CHECK(unit < (std::size_t{1} << 31) && document < (std::size_t{1} << 32), unit, " ", document);
  return static_cast<std::int64_t>(unit << 32 | document);
}

/// counts[r] of every rank for this one: how much it will get from each.
std::vector<std::int64_t> exchange_counts(comm::Group& group, const std::vector<std::int64_t>& counts) {
  const std::string packed(reinterpret_cast<const char*>(counts.data()), counts.size() * sizeof(std::int64_t));
  const std::vector<std::string> all = group.all_gather_bytes(packed);
  std::vector<std::int64_t> incoming(all.size());
  for (std::size_t r = 0; r < all.size(); ++r) {
    std::memcpy(&incoming[r], all[r].data() + static_cast<std::size_t>(group.rank()) * sizeof(std::int64_t),
                sizeof(std::int64_t));
  }
  return incoming;
}

std::int64_t sum_of(const std::vector<std::int64_t>& counts) {
  std::int64_t sum = 0;
  for (const std::int64_t count : counts) sum += count;
  return sum;
}

/// Digests to the rank that judges them, which is a function of the digest alone.
struct Judging {
  at::Tensor rows;                       // [received, 3]
  std::vector<std::int64_t> from_ranks;  // rows of each rank, in order
};

Judging send_to_judges(comm::Group& group, const std::vector<UnitDigests>& mine) {
  const auto size = static_cast<std::size_t>(group.size());
  std::vector<std::vector<Row>> outgoing(size);
  for (const UnitDigests& unit : mine) {
    for (std::size_t d = 0; d < unit.digests.size(); ++d) {
      const Digest& digest = unit.digests[d];
      outgoing[digest[0] % size].push_back(
          {static_cast<std::int64_t>(digest[0]), static_cast<std::int64_t>(digest[1]), place_of(unit.unit, d)});
    }
  }
  std::vector<std::int64_t> counts;
  for (const std::vector<Row>& rows : outgoing) counts.push_back(static_cast<std::int64_t>(rows.size()));
  at::Tensor sent = at::empty({sum_of(counts), 3}, at::kLong);
  auto* place = sent.data_ptr<std::int64_t>();
  for (std::vector<Row>& rows : outgoing) {
    if (!rows.empty()) std::memcpy(place, rows.data(), rows.size() * sizeof(Row));
    place += 3 * rows.size();
    std::vector<Row>().swap(rows);
  }
  Judging judging;
  judging.from_ranks = exchange_counts(group, counts);
  judging.rows = at::empty({sum_of(judging.from_ranks), 3}, at::kLong);
  group.all_to_all(judging.rows, judging.from_ranks, sent, counts);
  return judging;
}

/// Places of all but the first occurrence of each digest, sorted.
std::vector<std::int64_t> judge(const at::Tensor& rows) {
  const auto* first = reinterpret_cast<const Row*>(rows.data_ptr<std::int64_t>());
  std::vector<Row> sorted(first, first + rows.size(0));
  std::sort(sorted.begin(), sorted.end(), [](const Row& a, const Row& b) {
    return std::tie(a.high, a.low, a.place) < std::tie(b.high, b.low, b.place);
  });
  std::vector<std::int64_t> later;
  for (std::size_t i = 1; i < sorted.size(); ++i) {
    if (sorted[i].high == sorted[i - 1].high && sorted[i].low == sorted[i - 1].low) later.push_back(sorted[i].place);
  }
  std::sort(later.begin(), later.end());
  return later;
}

/// The judgements back to the ranks that asked.
at::Tensor send_back(comm::Group& group, const Judging& judging, const std::vector<std::int64_t>& later) {
  std::vector<std::int64_t> outgoing;
  std::vector<std::int64_t> counts;
  const std::int64_t* row = judging.rows.data_ptr<std::int64_t>();
  for (const std::int64_t num_rows : judging.from_ranks) {
    const std::size_t before = outgoing.size();
    for (std::int64_t i = 0; i < num_rows; ++i, row += 3) {
      if (std::binary_search(later.begin(), later.end(), row[2])) outgoing.push_back(row[2]);
    }
    counts.push_back(static_cast<std::int64_t>(outgoing.size() - before));
  }
  at::Tensor sent = at::empty({sum_of(counts), 1}, at::kLong);
  if (!outgoing.empty())
    std::memcpy(sent.data_ptr<std::int64_t>(), outgoing.data(), outgoing.size() * sizeof(std::int64_t));
  const std::vector<std::int64_t> incoming = exchange_counts(group, counts);
  at::Tensor received = at::empty({sum_of(incoming), 1}, at::kLong);
  group.all_to_all(received, incoming, sent, counts);
  return received;
}

}  // namespace

std::vector<std::vector<char>> find_duplicates(comm::Group& group, const std::vector<UnitDigests>& mine) {
  const Judging judging = send_to_judges(group, mine);
  const at::Tensor duplicates = send_back(group, judging, judge(judging.rows));
  std::vector<std::vector<char>> flags;
  for (const UnitDigests& unit : mine) flags.emplace_back(unit.digests.size(), 0);
  const std::int64_t* place = duplicates.data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < duplicates.numel(); ++i) {
    const auto unit = static_cast<std::size_t>(place[i] >> 32);
    const auto found = std::lower_bound(mine.begin(), mine.end(), unit,
                                        [](const UnitDigests& own, std::size_t key) { return own.unit < key; });
    OSLER_CHECK(found != mine.end() && found->unit == unit, unit);
    flags[static_cast<std::size_t>(found - mine.begin())].at(static_cast<std::size_t>(place[i] & 0xFFFFFFFF)) = 1;
  }
  return flags;
}

}  // namespace osler::data
