// What a run will need hours later and what can be known of it at its start, in a dry run too.
#pragma once

#include "base/folder_owner.hpp"
#include "train/inputs.hpp"

namespace osler::train {

/// Files can be made under run.dir and beside run.trace, from every node. Leaves nothing behind. Throws StorageError.
/// *Collective.*
void check_outputs(const RunSpec& spec, comm::World& world);

/// Whether the checkpoints to come fit on the file system of run.dir, beside those that are there: warns when they do
/// not; throws StorageError when not even one does, unless files.check_space is off. run.steps is known. *Collective.*
void check_space(const RunSpec& spec, const Inputs& inputs, comm::World& world);

/// Claims run.dir for this job; held by rank 0, null elsewhere. Throws ConfigError when another job lives there.
/// *Collective.*
std::unique_ptr<FolderOwner> claim_run_directory(const RunSpec& spec, comm::World& world);

}  // namespace osler::train
