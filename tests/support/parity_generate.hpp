// parity_driver generate CASE_DIRECTORY: generates on any layout of the ranks that it was started with, and writes what
// came out in the order of the requests.
#pragma once

namespace osler::tests {

void run_generate_case(int argc, char** argv);

}  // namespace osler::tests
