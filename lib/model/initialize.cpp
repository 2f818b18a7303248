#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "base/random.hpp"
#include "model/model.hpp"

namespace osler::model {
namespace {

/// FNV-1a: the name as a number, the same on every machine.
std::uint64_t hash_of(const std::string& name) {
  std::uint64_t hash = 14695981039346656037ull;
  for (const char letter : name) hash = (hash ^ static_cast<unsigned char>(letter)) * 1099511628211ull;
  return hash;
}

/// The part of the tensor that is held here, [rows, columns]. Rows are drawn one by one, each from its own stream and from
/// its first column on, so that a part of a matrix can be drawn without the rest.
at::Tensor normal_rows(const parallel::Parameter& parameter, double deviation, std::uint64_t seed) {
  const at::Tensor values = at::empty(parameter.data.sizes(), at::kDouble);
  const std::int64_t num_rows = values.size(0), width = values.size(1);
  const std::int64_t first_row = parameter.spec.offset[0], skipped = parameter.spec.offset[1];
  auto* out = values.mutable_data_ptr<double>();
  const std::uint64_t name = hash_of(parameter.name);
  at::parallel_for(0, num_rows, 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      RandomStream stream(seed, Purpose::init, name, static_cast<std::uint64_t>(first_row + row));
      for (std::int64_t i = 0; i < skipped; ++i) stream.normal();
      for (std::int64_t i = 0; i < width; ++i) out[row * width + i] = deviation * stream.normal();
    }
  });
  return values;
}

}  // namespace

void initialize(parallel::ParameterStore& parameters, const config::ModelConfig& config, std::uint64_t seed) {
  const at::NoGradGuard no_grad;
  for (const auto& parameter : parameters.parameters()) {
    at::Tensor data = parameter.data;
    if (data.dim() == 1) {
      data.fill_(1);  // norm weights
    } else {
      data.copy_(normal_rows(parameter, config.initializer_range, seed));
    }
  }
}

}  // namespace osler::model
