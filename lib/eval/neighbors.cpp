#include "eval/neighbors.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "base/error.hpp"
#include "base/random.hpp"
#include "base/sha256.hpp"
#include "eval/json_record.hpp"
#include "eval/vote.hpp"
#include "store/hdf5_file.hpp"

namespace osler::eval {

namespace {

double dot(const std::vector<float>& a, const std::vector<float>& b) {
  // Four sums, so that the compiler may use vector registers without changing the order of additions.
  double sums[4] = {0, 0, 0, 0};
  std::size_t i = 0;
  for (; i + 4 <= a.size(); i += 4)
    for (std::size_t k = 0; k < 4; ++k) sums[k] += static_cast<double>(a[i + k]) * static_cast<double>(b[i + k]);
  for (; i < a.size(); ++i) sums[0] += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

std::vector<double> lengths_of(const Vectors& vectors) {
  std::vector<double> lengths;
  for (const auto& vector : vectors) lengths.push_back(std::sqrt(dot(vector, vector)));
  return lengths;
}

}  // namespace

std::vector<std::vector<std::size_t>> nearest(const Vectors& items, const Vectors& train, std::size_t count) {
  const std::vector<double> item_lengths = lengths_of(items);
  const std::vector<double> train_lengths = lengths_of(train);
  std::vector<std::vector<std::size_t>> found;
  for (std::size_t i = 0; i < items.size(); ++i) {
    std::vector<double> similarity(train.size(), -INFINITY);
    for (std::size_t t = 0; t < train.size(); ++t) {
      if (train[t].size() != items[i].size())
        throw DataError("embeddings of ", items[i].size(), " and ", train[t].size(), " numbers cannot be compared");
      const double length = item_lengths[i] * train_lengths[t];
      if (length > 0) similarity[t] = dot(items[i], train[t]) / length;
    }
    std::vector<std::size_t> order(train.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    const std::size_t kept = std::min(count, order.size());
    std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(kept), order.end(),
                      [&](std::size_t a, std::size_t b) {
                        return similarity[a] != similarity[b] ? similarity[a] > similarity[b] : a < b;
                      });
    order.resize(kept);
    found.push_back(std::move(order));
  }
  return found;
}

std::vector<std::size_t> random_candidates(std::uint64_t seed, const Question& question, std::size_t size,
                                           std::size_t count) {
  const Permutation permutation(size, seed, Purpose::exemplar, item_key(question));
  std::vector<std::size_t> drawn;
  for (std::size_t i = 0; i < std::min(count, size); ++i) drawn.push_back(permutation(i));
  return drawn;
}

Vectors read_vectors(const std::string& path, const std::vector<const Question*>& questions) {
  const store::ReadFile file(path);
  const store::DatasetInfo& info = file.dataset("vectors");
  const Json hashes = parse_json(file.read_text("question_sha256"), path, 1);
  if (info.dtype != DType::fp32 || info.shape.size() != 2 || !hashes.is_array() ||
      static_cast<std::int64_t>(hashes.size()) != info.shape[0])
    throw DataError(path, ": `vectors` (fp32, one row a question) and `question_sha256` (a JSON list, one sum a ",
                    "question) are expected");
  std::map<std::string, std::int64_t> rows;
  for (std::size_t i = 0; i < hashes.size(); ++i) rows[hashes[i].get<std::string>()] = static_cast<std::int64_t>(i);
  Vectors vectors;
  for (const Question* question : questions) {
    const auto row = rows.find(sha256_hex(question->text));
    if (row == rows.end())
      throw DataError(path, ": holds no vector for question ", question->id, " (line ", question->line,
                      " of its file)");
    std::vector<float> vector(static_cast<std::size_t>(info.shape[1]));
    file.read("vectors", {row->second, 0}, {1, info.shape[1]}, std::as_writable_bytes(std::span(vector)));
    vectors.push_back(std::move(vector));
  }
  return vectors;
}

}  // namespace osler::eval
