// A conversation to learn answers from: turns with their roles. Local.
#pragma once

#include <string>
#include <vector>

namespace osler::text {

enum class Role { system, user, assistant };

struct Message {
  Role role = Role::user;
  std::string content;  ///< well-formed UTF-8, not blank
};

const char* name_of(Role role);
/// The contents with newlines between.
std::string joined(const std::vector<Message>& messages);

}  // namespace osler::text
