// What to offer instead of a name or number that will not do. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace osler::config {

/// The candidate closest in spelling, "" when none is close.
std::string nearest_name(const std::string& text, const std::vector<std::string>& candidates);
/// "the nearest are 16 and 32", or "use 16": the positive multiples of `step` around `value`.
std::string nearest_multiples(std::int64_t value, std::int64_t step);
/// "the nearest are 2 and 4", or "use 8": the divisors of `whole` around `value`.
std::string nearest_divisors(std::int64_t value, std::int64_t whole);

}  // namespace osler::config
