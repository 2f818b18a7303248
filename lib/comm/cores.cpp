#include "comm/cores.hpp"

#include <sched.h>

#include <algorithm>
#include <thread>

namespace osler::comm {

std::string core_mask() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0)
    return std::string(std::max(1U, std::thread::hardware_concurrency()), '1');
  std::string mask;
  for (int core = 0; core < CPU_SETSIZE; ++core) mask += CPU_ISSET(core, &set) ? '1' : '0';
  mask.resize(mask.find_last_of('1') + 1);
  return mask;
}

int fair_share_of_cores(const std::vector<std::string>& masks, std::size_t index) {
  const std::string& mine = masks[index];
  const auto meets = [&](const std::string& other) {
    for (std::size_t core = 0; core < std::min(mine.size(), other.size()); ++core) {
      if (mine[core] == '1' && other[core] == '1') return true;
    }
    return false;
  };
  const auto cores = std::count(mine.begin(), mine.end(), '1');
  const auto sharers = std::max<std::ptrdiff_t>(1, std::count_if(masks.begin(), masks.end(), meets));
  return static_cast<int>(std::max<std::ptrdiff_t>(1, cores / sharers));
}

}  // namespace osler::comm
