// From logits to tokens: greedy, temperature and top-p, each draw a function of its own number u alone.
// Source of top-p: Holtzman et al. 2020, "The curious case of neural text degeneration".
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "comm/group.hpp"
#include "generate/generator.hpp"
#include "parallel/parameter.hpp"

namespace osler::generate {

/// One token to be chosen.
struct Draw {
  std::int64_t row = 0;  ///< of the logits; several draws may share one; ascending
  Sampling sampling;
  double u = 0;  ///< in [0, 1)
};

struct Choice {
  int id = 0;
  float log_prob = 0;  ///< at temperature 1
};

/// hidden_ND in model dtype, the same on all tp ranks, as the choices are. *Collective over tp.*
std::vector<Choice> choose_tokens(const at::Tensor& hidden_ND, const parallel::Parameter& head,
                                  const std::vector<Draw>& draws, comm::Group& tp);

/// The token at which u falls among the probabilities softmax(logits / temperature), in order of ids, cut to the fewest
/// and likeliest whose sum reaches top_p (of equals the lower ids first) and divided by their sum. temperature > 0.
std::int64_t sample_row(const float* logits, std::int64_t vocab_size, const Sampling& sampling, double u,
                        std::vector<float>& scratch);

}  // namespace osler::generate
