// Many verdicts of one process, for tests that damage a file thousands of times.
#pragma once

namespace osler::tests {

/// Reads lines "KIND PATH" from stdin until it ends, and answers each on stdout with one line: "sound", or the exit
/// code that the program would leave with, a blank and the message (line breaks as blanks). KIND: checkpoint (a
/// directory), shard (of tokens), journal (a folder; its lines that were passed over are the message, with code 0),
/// results (an evaluation's folder).
void run_verify_files();

}  // namespace osler::tests
