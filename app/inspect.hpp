// The parts of `osler inspect`, by subject. Each prints to stdout what is in a file or folder.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace osler::app {

enum class Depth { contents, verify };

void print_pairs(const std::vector<std::pair<std::string, std::string>>& pairs);

// Tokens (inspect_tokens.cpp)
bool holds_token_shards(const std::string& folder);
void inspect_token_folder(const std::string& path, Depth depth);  ///< every shard below it, and the sums
void inspect_tokenize_report(const std::string& path, Depth depth);
void inspect_shard(const std::string& path, Depth depth);

// Two of them (inspect_compare.cpp)
enum class Equality { reported, required };
/// Compares two sets of tensors, each a checkpoint, a run (its newest checkpoint) or a Hugging Face directory, and what
/// else checkpoints hold. Throws DataError when they differ and equality is required.
void compare(const std::string& a, const std::string& b, Depth depth, Equality equality);

// Tables (inspect_tables.cpp)
void inspect_hdf5(const std::string& path, Depth depth);  ///< a shard, or its datasets
void inspect_csv(const std::string& path);
void inspect_results(const std::string& path, Depth depth);
void inspect_evaluation(const std::string& folder, Depth depth);  ///< its table; sums of all its files
void inspect_json_lines(const std::string& path);

}  // namespace osler::app
