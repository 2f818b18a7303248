#include "data/mixture.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <sstream>

#include "base/error.hpp"
#include "base/random.hpp"
#include "base/sha256.hpp"
#include "data/share_schedule.hpp"

namespace osler::data {
namespace {

/// Shares of the sequences: all windows are equally long, so that a share of tokens is one of sequences.
std::vector<double> weights_of(const config::DataOptions& options, const std::vector<TokenSource>& sources,
                               Windows windows) {
  std::vector<double> weights;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    const auto times = windows == Windows::stream ? 1.0 : static_cast<double>(sources[i].num_windows());
    weights.push_back(options.source[i].weight * times);
  }
  return weights;
}

std::vector<TokenSource> open_sources(const config::DataOptions& options, std::uint64_t seed, Windows windows) {
  std::vector<TokenSource> sources;
  for (const config::WeightedPath& source : options.source) {
    if (windows == Windows::stream)
      sources.emplace_back(source.name, source.path, options.sequence_length);
    else
      sources.emplace_back(source.name, source.path,
                           PackingOptions{options.sequence_length, options.too_long, seed, sources.size()});
    const TokenSource& first = sources.front();
    const TokenSource& last = sources.back();
    if (last.tokenizer_sha256() != first.tokenizer_sha256() || last.vocab_size() != first.vocab_size()) {
      throw DataError("sources ", first.name(), " (", first.first_file(), ") and ", last.name(), " (",
                      last.first_file(), ") come from different tokenizers; tokenize both with the model's own");
    }
    if (last.chat_template() != first.chat_template()) {
      throw DataError("sources ", first.name(), " and ", last.name(), " were made with different templates (",
                      first.chat_template(), " and ", last.chat_template(), "); tokenize both with one");
    }
  }
  return sources;
}

/// Rows of padding: token 0, nothing supervised, one segment.
Batch empty_batch(std::int64_t rows, std::int64_t length) {
  const at::TensorOptions int64 = at::TensorOptions().dtype(at::kLong);
  Batch batch;
  batch.tokens_BT = at::zeros({rows, length}, int64);
  batch.labels_BT = at::full({rows, length}, -100, int64);
  batch.positions_BT = at::arange(length, int64).expand({rows, length}).contiguous();
  batch.segments_BT = at::zeros({rows, length}, int64);
  batch.source_B.assign(static_cast<std::size_t>(rows), 0);
  batch.samples.assign(static_cast<std::size_t>(rows), SampleId{0, 0, -1});
  batch.lengths_B.assign(static_cast<std::size_t>(rows), 0);
  return batch;
}

std::string exact(double value) {
  std::ostringstream out;
  out << std::setprecision(17) << value;
  return out.str();
}

}  // namespace

struct Mixture::Impl {
  config::DataOptions options;
  std::uint64_t seed = 0;
  Windows windows = Windows::stream;
  std::vector<TokenSource> sources;
  ShareSchedule schedule;

  Impl(const config::DataOptions& data_options, std::uint64_t run_seed, Windows kind)
      : options(data_options),
        seed(run_seed),
        windows(kind),
        sources(open_sources(data_options, run_seed, kind)),
        schedule(weights_of(data_options, sources, kind)) {}

  SampleId sample(std::int32_t source, std::int64_t index) const {
    const std::int64_t num_windows = sources[static_cast<std::size_t>(source)].num_windows();
    const std::int64_t epoch = index / num_windows;
    const Permutation order(static_cast<std::uint64_t>(num_windows), seed, Purpose::data_order,
                            static_cast<std::uint64_t>(source), static_cast<std::uint64_t>(epoch));
    const std::uint64_t window = order(static_cast<std::uint64_t>(index % num_windows));
    return {source, epoch, static_cast<std::int64_t>(window)};
  }
};

Mixture::Mixture(const config::DataOptions& options, std::uint64_t seed, Windows windows) {
  if (options.global_batch < 1 || options.micro_batch < 1 || options.sequence_length < 1) {
    throw ConfigError("data: global_batch, micro_batch and sequence_length must be at least 1");
  }
  impl_ = std::make_shared<const Impl>(options, seed, windows);
}

std::int64_t Mixture::steps_of_epochs(double epochs) const {
  OSLER_CHECK(impl_->windows == Windows::conversations && epochs > 0, epochs);
  double sequences = 0;
  for (const double weight : weights_of(impl_->options, impl_->sources, impl_->windows)) sequences += epochs * weight;
  const double steps = std::ceil(sequences / static_cast<double>(impl_->options.global_batch) - 1e-9);
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(steps));
}

std::vector<SampleId> Mixture::samples_of_step(std::int64_t step) const {
  OSLER_CHECK(step >= 0, step);
  const std::int64_t begin = step * impl_->options.global_batch;
  std::vector<std::int64_t> used = impl_->schedule.counts_before(begin);
  std::vector<SampleId> samples;
  for (const std::int32_t source : impl_->schedule.choices(begin, impl_->options.global_batch)) {
    samples.push_back(impl_->sample(source, used[static_cast<std::size_t>(source)]++));
  }
  return samples;
}

std::vector<Batch> Mixture::batches_of_step(std::int64_t step, int dp_rank, int dp_size) const {
  const config::DataOptions& options = impl_->options;
  OSLER_CHECK(dp_size > 0 && dp_rank >= 0 && dp_rank < dp_size, dp_rank, "/", dp_size);
  if (options.global_batch % dp_size != 0) {
    throw ConfigError(
        "data.global_batch ", options.global_batch, " does not divide over ", dp_size,
        " data-parallel ranks; nearest: ", std::max<std::int64_t>(dp_size, options.global_batch / dp_size * dp_size),
        " or ", (options.global_batch / dp_size + 1) * dp_size);
  }
  const std::int64_t share = options.global_batch / dp_size;
  const std::vector<SampleId> samples = samples_of_step(step);
  std::vector<Batch> batches;
  for (std::int64_t done = 0; done < share; done += options.micro_batch) {
    const std::int64_t rows = std::min(options.micro_batch, share - done);
    Batch batch = empty_batch(rows, options.sequence_length);
    for (std::int64_t row = 0; row < rows; ++row) {
      const SampleId& sample = samples[static_cast<std::size_t>(dp_rank * share + done + row)];
      impl_->sources[static_cast<std::size_t>(sample.source)].fill(batch, row, sample.window, options.cross_document);
      batch.source_B[static_cast<std::size_t>(row)] = sample.source;
      batch.samples[static_cast<std::size_t>(row)] = sample;
    }
    batches.push_back(std::move(batch));
  }
  return batches;
}

std::vector<std::int64_t> Mixture::ledger_before(std::int64_t step) const {
  return impl_->schedule.counts_before(step * impl_->options.global_batch);
}

const std::vector<TokenSource>& Mixture::sources() const {
  return impl_->sources;
}

std::string Mixture::fingerprint() const {
  const config::DataOptions& options = impl_->options;
  Sha256 sum;
  sum.update(text_of("mixture 1 ", options.sequence_length, " ", options.global_batch, " ", options.cross_document, " ",
                     impl_->seed, "\n"));
  if (impl_->windows == Windows::conversations)
    sum.update(text_of("conversations 1 ", config::name_of(options.too_long), "\n"));
  for (std::size_t i = 0; i < impl_->sources.size(); ++i) {
    const TokenSource& source = impl_->sources[i];
    sum.update(text_of(source.name(), " ", exact(options.source[i].weight), " ", source.fingerprint(), "\n"));
  }
  return sum.hex();
}

std::vector<Batch> validation_batches(const TokenSource& source, const config::DataOptions& options, int dp_rank,
                                      int dp_size) {
  OSLER_CHECK(dp_size > 0 && dp_rank >= 0 && dp_rank < dp_size, dp_rank, "/", dp_size);
  const std::int64_t total = std::min(options.validation_sequences, source.num_windows());
  const std::int64_t share = (total + dp_size - 1) / dp_size;
  std::vector<Batch> batches;
  for (std::int64_t done = 0; done < share; done += options.micro_batch) {
    const std::int64_t rows = std::min(options.micro_batch, share - done);
    Batch batch = empty_batch(rows, options.sequence_length);
    for (std::int64_t row = 0; row < rows; ++row) {
      const std::int64_t window = dp_rank * share + done + row;
      if (window >= total) continue;
      source.fill(batch, row, window, options.cross_document);
      batch.samples[static_cast<std::size_t>(row)] = {0, 0, window};
    }
    batches.push_back(std::move(batch));
  }
  return batches;
}

}  // namespace osler::data
