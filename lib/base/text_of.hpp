// Concatenates values into one string. (GCC 12 has no <format>, and torch's headers shadow the system's fmt.)
#pragma once

#include <sstream>
#include <string>

namespace osler {

template <class... Args>
std::string text_of(const Args&... args) {
  std::ostringstream out;
  out.precision(9);
  ((out << args), ...);
  return std::move(out).str();
}

}  // namespace osler
