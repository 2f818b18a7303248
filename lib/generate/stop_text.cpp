#include "generate/stop_text.hpp"

#include <algorithm>

namespace osler::generate {
namespace {

bool has_any(const std::string& text, const std::vector<std::string>& stop) {
  return std::any_of(stop.begin(), stop.end(), [&](const auto& one) { return text.find(one) != std::string::npos; });
}

}  // namespace

bool ends_text(const std::vector<int>& ids, const std::vector<std::string>& stop, const Decode& decode) {
  if (stop.empty() || ids.empty()) return false;
  std::size_t longest = 0;
  for (const auto& one : stop) longest = std::max(longest, one.size());
  // The tail's own first bytes may decode otherwise than within the whole (a space dropped, half a character): beyond
  // the stop string there is room for the last token and for a whole character.
  const std::size_t wanted = longest + decode({ids.back()}).size() + 8;
  for (std::size_t count = 8;; count *= 2) {
    count = std::min(count, ids.size());
    const std::string tail = decode({ids.end() - static_cast<std::ptrdiff_t>(count), ids.end()});
    if (count < ids.size() && tail.size() < wanted) continue;
    return has_any(tail, stop) && (count == ids.size() || has_any(decode(ids), stop));
  }
}

std::string cut_text(const std::string& text, const std::vector<std::string>& stop) {
  std::size_t end = text.size();
  for (const auto& one : stop) end = std::min(end, text.find(one));
  return text.substr(0, end);
}

}  // namespace osler::generate
