// Published bf16 training runs, as their documents describe them, in the words of a forecast. Inputs are facts of the
// run (model, devices, layout, batch, what overlaps); where a document leaves one open, `note` says what is assumed.
#pragma once

#include <string>
#include <vector>

#include "plan/forecast_input.hpp"

namespace osler::plan {

enum class Source { llm_foundry, torchtitan, nanotron, meditron, megatron, megatron_user };

struct PublishedRun {
  Source source = Source::megatron;
  std::string setting;
  ForecastInput input;        ///< data.global_batch: of the whole run
  std::int64_t num_gpus = 8;  ///< pipeline stages included
  std::int64_t stages = 1;    ///< pipeline
  std::int64_t virtual_stages = 1;
  bool balances_head = false;  ///< stages share the head's work instead of one having it
  double tokens_per_s = 0;     ///< published, a GPU
  bool calibrates = false;     ///< the one row of its kind of device from which step_over_kernels was set
  std::string note;
};

/// FLOPs of a token as Megatron-LM, nanotron and torchtitan count them: attention as if no mask halved it.
double unmasked_flops_per_token(const config::ModelConfig& model, std::int64_t sequence_length);

std::vector<PublishedRun> published_runs();
/// Mixtral-8x7B on 64 H100 as in Megatron-LM's reference mapping, with another tp and ep.
PublishedRun mixtral_run(std::int64_t tp, std::int64_t ep);

/// Tokens/s of one GPU. A pipeline is its slowest stage, the one with the head, on num_gpus / stages ranks, lengthened
/// by the bubble (stages - 1) / (virtual_stages * micro-batches) (Narayanan et al. 2021, arXiv 2104.04473,
/// section 2.2).
double forecast_tokens_per_s(const PublishedRun& run);

}  // namespace osler::plan
