// Training questions near a question: cosine of embeddings, from the model under test or from a file. Pure but for the
// reading.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "eval/task.hpp"

namespace osler::eval {

using Vectors = std::vector<std::vector<float>>;

/// For each of `items` the indices of the `count` most similar of `train`, most similar first, equal ones by rising
/// index. Similarities are cosines, summed in fp64; a vector of length 0 is similar to nothing. Throws DataError when
/// the lengths differ.
std::vector<std::vector<std::size_t>> nearest(const Vectors& items, const Vectors& train, std::size_t count);

/// The ablation without kNN: `count` of `size` indices, drawn by key, item after item alike for any file order.
std::vector<std::size_t> random_candidates(std::uint64_t seed, const Question& question, std::size_t size,
                                           std::size_t count);

/// The vectors of `questions` from an HDF5 file with `vectors` (fp32 [n, size]) and the text `question_sha256` (a JSON
/// list of n SHA-256 sums of question texts). Throws DataError naming the file when one is missing.
Vectors read_vectors(const std::string& path, const std::vector<const Question*>& questions);

}  // namespace osler::eval
