#include "comm/rank_0_view.hpp"

#include "base/visibility.hpp"

namespace osler::comm {

std::vector<std::string> broadcast_list(Group& group, const std::vector<std::string>& list) {
  std::string packed;
  for (const std::string& item : list) packed += item + '\0';
  packed = group.broadcast_bytes(packed, 0);
  std::vector<std::string> items;
  for (std::size_t begin = 0; begin < packed.size(); begin = packed.find('\0', begin) + 1)
    items.push_back(packed.substr(begin, packed.find('\0', begin) - begin));
  return items;
}

void wait_for_files(Group& group, const std::vector<std::string>& paths) {
  const std::vector<std::string> seen = broadcast_list(group, paths);
  agree_after(group, [&] {
    if (group.rank() == 0) return;
    for (const std::string& path : seen) wait_until_visible(path);
  });
}

}  // namespace osler::comm
