// What pretrain and finetune have in common: everything but what they learn from and their defaults.
#pragma once

#include "config/parser.hpp"
#include "train/inputs.hpp"
#include "verbs.hpp"

namespace osler::app {

/// Parses into `spec`, whose stage and defaults the verb has set, and trains. *Collective.*
ExitCode run_training(config::Parser& parser, train::RunSpec spec, comm::World& world, const Arguments& arguments);

}  // namespace osler::app
