// The pieces of a study: pretraining in segments, and at the end of each an evaluation of the model P^t, fine-tunings
// P^t+F of it with and without NEFTune, and evaluations of those. Each piece is one command that may be interrupted and
// started again. Pure: what runs them (slurm/study.sh) needs no knowledge of what a study is.
// Source: Christophe et al. 2024, arXiv 2409.14988 (versions P^t, P^t+F).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/options.hpp"

namespace osler::plan {

/// What the pieces need to know of the stage of continued pretraining.
struct StudyPretraining {
  std::int64_t tokens_per_step = 0;
  std::int64_t steps = 0;
  std::string from;  ///< weights it starts from: the model P^0; empty: random ones, not worth asking
};

struct StudyPiece {
  std::string name;                    ///< "pretrain/50B", "finetune/50B-f-n5", "evaluate/50B-f-n5/cot"
  std::vector<std::string> after;      ///< pieces that must be done before
  std::string verb;                    ///< of osler
  std::vector<std::string> arguments;  ///< behind the verb
  std::string done;                    ///< a file that is there if and only if the piece is done
  std::int64_t steps = 0;              ///< optimizer steps of a pretraining segment
};

/// In an order in which each comes behind those it needs; what the earliest model needs first, so that a study that is
/// cut short has whole results. Throws ConfigError for points behind the end of pretraining or in the same step.
std::vector<StudyPiece> study_pieces(const config::StudyOptions& study, const StudyPretraining& pretraining);

/// 50'000'000'000 -> "50B": exact, the shortest of 50000000000, 50000000k, 50000M, 50B, and so on.
std::string token_label(std::int64_t tokens);

/// One line a piece, fields with a tab between: name, names it comes after (with spaces between), file that says that
/// it is done, verb, arguments.
std::string pieces_text(const std::vector<StudyPiece>& pieces);

}  // namespace osler::plan
