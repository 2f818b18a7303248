// osler pretrain: continued (or first) pretraining on a mixture of token shards.
#include "train_run.hpp"

namespace osler::app {

ExitCode pretrain(comm::World& world, const Arguments& arguments) {
  config::Parser parser("pretrain", "Trains on a mixture of token shards, from released weights or from scratch.");
  return run_training(parser, {}, world, arguments);
}

}  // namespace osler::app
