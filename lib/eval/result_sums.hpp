// The sums of an evaluation's files, which its results.json holds, and its own. Local.
#pragma once

#include <map>
#include <string>

#include "eval/json_record.hpp"

namespace osler::eval {

/// results.json as text, with osler.files = `sums` {name: SHA-256} and osler.sha256: of this text with 64 zeros there.
std::string with_sums(Json results, const std::map<std::string, std::string>& sums);

/// Throws DataError naming the file in `folder` that is not what results.json says, that itself included, or when
/// results.json holds no sums, as those of older releases.
void verify_results(const std::string& folder);

}  // namespace osler::eval
