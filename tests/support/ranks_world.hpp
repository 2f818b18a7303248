// The world of a test binary that runs under mpirun: made once by ranks_main.cpp, before any test.
#pragma once

#include "comm/world.hpp"

namespace osler::tests {

comm::World& world();

}  // namespace osler::tests
