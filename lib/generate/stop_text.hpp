// Where a text ends: stop strings may begin in one token and end in another. Pure.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace osler::generate {

using Decode = std::function<std::string(const std::vector<int>& ids)>;

/// Whether the last of `ids` completes one of `stop`. Decodes as few of the last tokens as can hold it.
bool ends_text(const std::vector<int>& ids, const std::vector<std::string>& stop, const Decode& decode);

/// `text` up to the first place at which one of `stop` begins.
std::string cut_text(const std::string& text, const std::vector<std::string>& stop);

}  // namespace osler::generate
