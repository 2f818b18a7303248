// How options are shown to people: help and the resolved INI. Local to config.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "config/field.hpp"

namespace osler::config {

std::string help_text(const std::string& verb, const std::string& summary, const std::vector<Field>& fields);
/// Every value as INI that the parser reads back; with `origin_of`, each under a comment that says where it came from.
std::string ini_text(const std::vector<Field>& fields,
                     const std::function<std::string(const std::string& key)>& origin_of);

}  // namespace osler::config
