#include "support/verify_files.hpp"

#include <algorithm>
#include <functional>
#include <iostream>
#include <map>
#include <string>

#include "base/error.hpp"
#include "checkpoint/checkpoint.hpp"
#include "data/token_shard.hpp"
#include "eval/journal.hpp"
#include "eval/result_sums.hpp"

namespace osler::tests {

namespace {

using Verify = std::function<void(const std::string& path)>;

const std::map<std::string, Verify>& kinds() {
  static const std::map<std::string, Verify> list = {
      {"checkpoint", [](const std::string& path) { checkpoint::Reader(path).verify(); }},
      {"shard", [](const std::string& path) { data::verify_shard(path); }},
      {"results", [](const std::string& path) { eval::verify_results(path); }},
      {"journal",
       [](const std::string& path) { std::cout << eval::Journal::parse(eval::Journal::read(path)).size() << " "; }},
  };
  return list;
}

std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

}  // namespace

void run_verify_files() {
  for (std::string line; std::getline(std::cin, line);) {
    const std::size_t blank = line.find(' ');
    try {
      kinds().at(line.substr(0, blank))(line.substr(blank + 1));
      std::cout << "sound" << std::endl;
    } catch (const Error& error) {
      std::cout << static_cast<int>(error.code()) << " " << one_line(error.what()) << std::endl;
    }
  }
}

}  // namespace osler::tests
