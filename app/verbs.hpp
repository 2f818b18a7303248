// The verbs of the program. Each takes what follows its name on the command line and returns the exit code on success;
// failures are thrown as osler::Error and reported once in main.cpp.
#pragma once

#include <string>
#include <vector>

#include "base/error.hpp"
#include "comm/world.hpp"

namespace osler::app {

using Arguments = std::vector<std::string>;

ExitCode tokenize(comm::World& world, const Arguments& arguments);
ExitCode convert(comm::World& world, const Arguments& arguments);
ExitCode pretrain(comm::World& world, const Arguments& arguments);
ExitCode finetune(comm::World& world, const Arguments& arguments);
ExitCode evaluate(comm::World& world, const Arguments& arguments);
ExitCode plan(const Arguments& arguments);     ///< no MPI, no GPU
ExitCode inspect(const Arguments& arguments);  ///< no MPI, no GPU

std::string version_text();  ///< build, compiler and library versions

}  // namespace osler::app
