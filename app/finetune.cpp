// osler finetune: instruct fine-tuning on conversations, with a loss on their answers only.
#include "train_run.hpp"

namespace osler::app {

ExitCode finetune(comm::World& world, const Arguments& arguments) {
  config::Parser parser("finetune",
                        "Fine-tunes a model on the answers of conversations (shards of osler tokenize "
                        "--tokenize.format=chat).");
  train::RunSpec spec{.stage = train::Stage::finetune};
  spec.data = config::finetune_data_defaults();
  spec.optim = config::finetune_optim_defaults();
  return run_training(parser, spec, world, arguments);
}

}  // namespace osler::app
